/**
 * What a package's entry exports, as Markdown: each function, class and type with its declaration and its documentation
 * comment. Read from the syntax alone, which takes a second where a type-checker takes twenty.
 */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import ts from "typescript";

interface Exported {
  name: string;
  node: ts.Declaration;
}

const files = new Map<string, ts.SourceFile>();

function parse(path: string): ts.SourceFile {
  const known = files.get(path);
  if (known) return known;
  const file = ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.Latest, true);
  files.set(path, file);
  return file;
}

const isExported = (node: ts.Node): boolean =>
  ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword);

/** Declarations of a statement by name. */
function declarationsOf(statement: ts.Statement): Exported[] {
  if (ts.isVariableStatement(statement)) {
    return statement.declarationList.declarations.map((node) => ({ name: node.name.getText(), node }));
  }
  const isNamed =
    ts.isFunctionDeclaration(statement) ||
    ts.isClassDeclaration(statement) ||
    ts.isInterfaceDeclaration(statement) ||
    ts.isTypeAliasDeclaration(statement);
  return isNamed && statement.name ? [{ name: statement.name.text, node: statement }] : [];
}

/** Exports of a module, those of other modules that it passes on included. Of overloads, the first. */
function exportsOf(path: string): Map<string, ts.Declaration> {
  const found = new Map<string, ts.Declaration>();
  const add = (name: string, node: ts.Declaration | undefined): void => {
    if (!node) throw new Error(`${path} exports ${name}, of which there is no declaration.`);
    if (!found.has(name)) found.set(name, node);
  };
  const { statements } = parse(path);
  for (const statement of statements) {
    if (isExported(statement)) for (const { name, node } of declarationsOf(statement)) add(name, node);
    if (!ts.isExportDeclaration(statement)) continue;
    const { moduleSpecifier, exportClause } = statement;
    const from = moduleSpecifier && ts.isStringLiteral(moduleSpecifier) ? moduleSpecifier.text : undefined;
    // Others' declarations, such as a library's, are theirs to document.
    if (from !== undefined && !from.startsWith(".")) continue;
    const origin = from === undefined ? undefined : exportsOf(resolve(dirname(path), from));
    const own = new Map(statements.flatMap(declarationsOf).map(({ name, node }) => [name, node]));
    if (!exportClause) for (const [name, node] of origin ?? []) add(name, node);
    else if (ts.isNamedExports(exportClause)) {
      for (const { name, propertyName } of exportClause.elements) {
        add(name.text, (origin ?? own).get((propertyName ?? name).text));
      }
    }
  }
  return found;
}

/** A documentation comment as Markdown: its text, then what is tagged. */
function documentationOf(node: ts.Node): { text: string; tags: { name: string; text: string }[] } {
  // Comments of a variable are those of its statement.
  const place = ts.isVariableDeclaration(node) ? node.parent.parent : node;
  const docs = (place as ts.Node & { jsDoc?: ts.JSDoc[] }).jsDoc ?? [];
  const last = docs.at(-1);
  const textOf = (comment: string | ts.NodeArray<ts.JSDocComment> | undefined): string =>
    (ts.getTextOfJSDocComment(comment) ?? "").replace(/\{@link ([^}]+)\}/g, "`$1`").trim();
  const tags = (last?.tags ?? []).map((tag) => {
    const parameter = ts.isJSDocParameterTag(tag) ? `\`${tag.name.getText()}\` ` : "";
    const thrown = ts.isJSDocThrowsTag(tag) && tag.typeExpression ? `${tag.typeExpression.getText()} ` : "";
    return { name: tag.tagName.text, text: `${parameter}${thrown}${textOf(tag.comment)}`.trim() };
  });
  return { text: textOf(last?.comment), tags };
}

const oneLine = (text: string): string => text.replace(/\s+/g, " ").trim();

/** A declaration without its body, on one line as far as it fits. */
function signatureOf(node: ts.Declaration): string {
  const source = node.getSourceFile();
  const upTo = (end: ts.Node | undefined): string =>
    oneLine(source.text.slice(node.getStart(source), end ? end.getStart(source) : node.getEnd())).replace(
      /^export (default )?(async )?/,
      "",
    );
  if (ts.isFunctionDeclaration(node)) return upTo(node.body);
  if (ts.isTypeAliasDeclaration(node)) return oneLine(node.getText()).replace(/^export /, "");
  if (ts.isInterfaceDeclaration(node) || ts.isClassDeclaration(node)) {
    const heritage = (node.heritageClauses ?? []).map((clause) => oneLine(clause.getText())).join(" ");
    const parameters = node.typeParameters ? `<${node.typeParameters.map((each) => each.getText()).join(", ")}>` : "";
    const kind = ts.isClassDeclaration(node) ? "class" : "interface";
    return `${kind} ${node.name?.text}${parameters}${heritage ? ` ${heritage}` : ""}`;
  }
  if (ts.isVariableDeclaration(node)) {
    const type = node.type ? `: ${oneLine(node.type.getText())}` : "";
    const value = !node.type && node.initializer ? ` = ${oneLine(node.initializer.getText())}` : "";
    return `const ${node.name.getText()}${type}${value.length > 160 ? "" : value}`;
  }
  return oneLine(node.getText());
}

/** Public members of a class or interface: what each is and what is said of it. */
function membersOf(node: ts.Declaration): { signature: string; text: string }[] {
  if (!ts.isInterfaceDeclaration(node) && !ts.isClassDeclaration(node)) return [];
  const hidden = [ts.SyntaxKind.PrivateKeyword, ts.SyntaxKind.ProtectedKeyword];
  return [...node.members].flatMap((member) => {
    const modifiers = ts.canHaveModifiers(member) ? (ts.getModifiers(member) ?? []) : [];
    const isHidden = modifiers.some(({ kind }) => hidden.includes(kind)) || member.name?.getText().startsWith("#");
    if (isHidden || ts.isClassStaticBlockDeclaration(member)) return [];
    const source = member.getSourceFile();
    const body = "body" in member ? (member.body as ts.Node | undefined) : undefined;
    const initializer = ts.isPropertyDeclaration(member) && member.type ? member.initializer : undefined;
    const end = body ?? initializer;
    const signature = oneLine(source.text.slice(member.getStart(source), end?.getStart(source) ?? member.getEnd()))
      .replace(/\s*=$/, "")
      .replace(/;$/, "")
      .replace(/\basync /, "");
    const { text, tags } = documentationOf(member);
    return [{ signature, text: oneLine([text, ...tags.map(describeTag)].filter(Boolean).join(" ")) }];
  });
}

function describeTag({ name, text }: { name: string; text: string }): string {
  const words: Record<string, string> = { returns: "Returns", return: "Returns", throws: "Throws", see: "See" };
  if (name === "param") return `${text.replace(/^(`[^`]+`) /, "$1: ")}.`.replace(/\.\.$/, ".");
  return `${words[name] ?? name}: ${text}.`.replace(/\.\.$/, ".");
}

const cell = (text: string): string => text.replace(/[|<>*[\]\\_]/g, (char) => `\\${char}`);
const code = (text: string): string => `\`${text.replaceAll("|", "\\|").replaceAll("`", "'")}\``;

/** Text with its own code left alone and everything else safe in Markdown. */
const prose = (text: string): string =>
  text
    .split(/(`[^`]*`)/)
    .map((part, i) => (i % 2 === 1 ? part.replaceAll("|", "\\|") : cell(part)))
    .join("");

/** A Markdown section of an entry: its exports, functions and classes before types, each by name. */
export function describeExports(path: string): string {
  const all = [...exportsOf(path)].sort(([a], [b]) => (a.toLowerCase() < b.toLowerCase() ? -1 : 1));
  const isType = (node: ts.Declaration): boolean => ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node);
  const describe = ([name, node]: [string, ts.Declaration]): string => {
    const { text, tags } = documentationOf(node);
    const members = membersOf(node);
    return [
      `#### ${name}`,
      `\`\`\`ts\n${signatureOf(node)}\n\`\`\``,
      ...(text ? [prose(text)] : []),
      ...(tags.length > 0 ? [tags.map((tag) => `- ${prose(oneLine(describeTag(tag)))}`).join("\n")] : []),
      ...(members.length > 0
        ? [
            [
              "| member | |",
              "|---|---|",
              ...members.map((each) => `| ${code(each.signature)} | ${prose(each.text)} |`),
            ].join("\n"),
          ]
        : []),
    ].join("\n\n");
  };
  const [types, others] = [all.filter(([, node]) => isType(node)), all.filter(([, node]) => !isType(node))];
  return [
    ...(others.length > 0 ? ["### Functions, classes and values", ...others.map(describe)] : []),
    ...(types.length > 0 ? ["### Types", ...types.map(describe)] : []),
  ].join("\n\n");
}
