// Prints what test runs came to as one line, `N passed, N failed` (`, N skipped` where there were any), from the files
// that Vitest's JSON reporter wrote; exits with 1 unless something passed and nothing failed. Only the first run has to
// be there: others may not have been possible.
//   node scripts/summarize-tests.mjs REPORT [EXIT_CODE_OF_THE_TEST_COMMANDS [OTHER_REPORT ...]]
import { existsSync, readFileSync } from "node:fs";

const [path, exitCode = "0", ...others] = process.argv.slice(2);
let [passed, failed, skipped] = [0, 0, 0];

function addReport(path) {
  const report = JSON.parse(readFileSync(path, "utf8"));
  passed += report.numPassedTests;
  failed += report.numFailedTests;
  skipped += report.numPendingTests + report.numTodoTests;
  // A file that fails as it loads, or in its hooks, has no failed test of its own.
  const brokenFiles = report.testResults.filter(
    ({ status, assertionResults }) => status === "failed" && assertionResults.every((test) => test.status !== "failed"),
  );
  for (const file of brokenFiles) console.log(`Failed as a whole: ${file.name}`);
  failed += brokenFiles.length;
}

if (path && existsSync(path)) {
  for (const report of [path, ...others.filter((other) => existsSync(other))]) addReport(report);
} else {
  console.log("The tests did not run: something before them failed (install, formatting, lint, types or build).");
}
// Whatever else made the command fail (a check, an error outside any test) is one failure more.
if (exitCode !== "0" && failed === 0) failed = 1;
if (passed === 0 && failed === 0) console.log("No test ran.");
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
