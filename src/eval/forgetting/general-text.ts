/**
 * The project's own general prompts and held-out text: written for it, in no data set, so that forgetting can be
 * measured anywhere. They ask for what a chat model should still do after it has learnt to write queries.
 */

export const generalPrompts: readonly string[] = [
  "Explain in two sentences why the sky is blue.",
  "What is the difference between a lake and a pond?",
  "Write a short apology to a colleague for being late to a meeting.",
  "Summarize the story of Little Red Riding Hood in three sentences.",
  "List five things to check before going on a long bicycle tour.",
  "Translate into French: Where is the nearest train station?",
  "Translate into German: The book on the table is mine.",
  "Give me a simple recipe for tomato soup.",
  "Why do leaves change colour in autumn?",
  "Write a haiku about rain on a tin roof.",
  "What does the proverb 'a stitch in time saves nine' mean?",
  "Name three differences between a cat and a dog as a pet.",
  "A train leaves at 9:40 and arrives at 11:15. How long does it take?",
  "What is 17 times 6? Explain how you get there.",
  "If I have 24 eggs and each cake takes 3, how many cakes can I bake?",
  "Correct the grammar: He go to school every days.",
  "Rewrite more politely: Send me the report now.",
  "Rewrite in the past tense: She walks home and reads a book.",
  "Write a function in Python that tells whether a number is even.",
  "What does the SQL statement SELECT do?",
  "Explain to a child what a computer program is.",
  "What are the primary colours?",
  "Who was Marie Curie?",
  "What is the capital of Australia, and why do many people get it wrong?",
  "How does a refrigerator keep food cold?",
  "Describe the taste of a lemon without the word sour.",
  "Write the first lines of a mystery story set in a library.",
  "What should I say in a job interview when asked about my weaknesses?",
  "Give three arguments for and three against living in a big city.",
  "How can I tell whether an egg is still good?",
  "Suggest a name for a small bakery and say why it fits.",
  "What is the water cycle?",
  "Write an email that invites a team to lunch on Friday.",
  "Is a tomato a fruit or a vegetable? Explain briefly.",
  "How do vaccines work, in simple words?",
  "Sort these words alphabetically: pear, apple, quince, fig.",
  "Count the vowels in the word 'education'.",
  "Answer only with yes or no: Is ice heavier than liquid water of the same volume?",
  "Finish the sentence: The best thing about a long winter is",
  "Give me a riddle and its answer.",
];

export const heldOutText = `The ferry left the harbour a little after six, when the fog had only begun to lift from the water. Most of the passengers stayed inside, where it smelled of coffee and wet wool, but Ines stood at the rail with her collar turned up and watched the town grow small. She had lived there for eleven years without ever taking the early boat. The fishermen who worked the banks beyond the lighthouse were already on their way home, low in the water, followed by gulls that quarrelled over everything that was thrown to them.

She had packed in a hurry. In the bag at her feet were two shirts, the notebook in which she kept the accounts of the workshop, a loaf of bread, and the clock. The clock was the reason for the journey. It had stood on the shelf above her bench since spring, and in all that time she had not found out why it gained four minutes every night and lost them again before noon. She had taken it apart twice. She had cleaned the wheels, measured the spring, and replaced a screw that did not need replacing. It was as if the clock slept badly, she had told its owner, and he had not laughed.

There is a rule among people who repair things: look first at what was changed last. A machine that worked yesterday and fails today has usually been helped by somebody. Ines believed in the rule, because it had saved her more hours than any tool. But nobody had touched the clock in forty years, except to wind it, and the man who had wound it was dead. What had changed was the house around it. The family had moved the clock from a stone wall to a wooden one, next to a chimney that was lit in the evening and went cold at night.

Metals grow when they are warm and shrink when they are cold, and a pendulum that has grown swings more slowly. That would make a clock lose time beside a warm chimney, not gain it. She had written this down, drawn a line under it, and gone on thinking about the wall. Wood also moves. It takes up water from damp air and gives it back when the air is dry, and a wall of boards can lean by the width of a fingernail between evening and morning. A clock that leans does not beat evenly. She had held her breath over the last page of the notebook, because for once the numbers agreed.

So she was going to see the wall. If she was right, the repair would take a spirit level, two wedges, and a quarter of an hour, and she would have some trouble writing a bill for it. If she was wrong, there would at least be lunch. The island came out of the fog all at once, first the chapel, then the row of poplars along the road, then a man on the pier with a rope in his hand who looked up, counted the passengers, and waved to nobody in particular.`;
