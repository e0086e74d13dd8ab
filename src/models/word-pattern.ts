/** How most byte-level tokenizers split a text into words before they merge. */

/** The pattern of Llama 3 and Qwen 2, which differ in how many `digits` go together. */
export const wordsWithDigits = (digits: string): string =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
