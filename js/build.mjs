// Builds the committed bundles of modularml/widgets/static, checks that they are
// what the sources give (--verify), or builds the tests for node (--tests).
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "modularml", "widgets", "static");
const tests = join(here, "tests");
const banner = `/* @generated from js/src by "npm run build": edit the sources, not this file. */`;

// Each is a file of its own, so that Mermaid's changes when Mermaid does and no sooner.
const bundles = ["chart", "history", "progress", "mermaid"];

// Bundles of one build find its library on the page, and those of another do not.
function versionOf(...paths) {
  const content = paths.map((path) => readFileSync(join(here, path)));
  return JSON.stringify(createHash("sha256").update(Buffer.concat(content)).digest("hex").slice(0, 12));
}
const define = {
  LIBRARY_VERSION: versionOf("src/shared/chart.ts", "src/shared/library.ts", "src/shared/lines.ts"),
  MERMAID_VERSION: versionOf("src/mermaid/index.ts", "node_modules/mermaid/package.json"),
};

// Of Mermaid we draw flowcharts, laid out by dagre. The other kinds of diagrams and layouts
// are imported on demand, which a single file cannot do: they are left out, and asking for
// one fails. A test draws every text that the library emits.
const flowchartsOnly = {
  name: "flowcharts-only",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /./ }, ({ path, kind, importer }) => {
      const isOurs = !importer.includes("/node_modules/mermaid/");
      if (isOurs || kind !== "dynamic-import" || /\/(flowDiagram|dagre)-[^/]*$/.test(path)) return undefined;
      return { path, namespace: "left-out" };
    });
    onLoad({ filter: /./, namespace: "left-out" }, ({ path }) => ({
      contents: `throw new Error(${JSON.stringify(`${basename(path)} is not in this bundle.`)});`,
    }));
  },
};

/** The licence of each library that went into a bundle; equal texts stand once. */
function noticeOf({ inputs }) {
  const folders = Object.keys(inputs).flatMap((path) => path.match(/.*node_modules\/(@[^/]+\/)?[^/]+/)?.[0] ?? []);
  const namesOf = new Map();
  for (const folder of [...new Set(folders)].sort()) {
    const file = readdirSync(join(here, folder)).find((name) => /^licen[cs]e/i.test(name));
    const { license, version } = JSON.parse(readFileSync(join(here, folder, "package.json"), "utf8"));
    const text = file ? readFileSync(join(here, folder, file), "utf8").trim().replaceAll("*/", "* /") : license;
    const name = `${folder.replace(/.*node_modules\//, "")} ${version}`;
    namesOf.set(text, [...(namesOf.get(text) ?? []), name]);
  }
  return [...namesOf].map(([text, names]) => `/*! It holds ${names.join(", ")}:\n\n${text}\n*/`).join("\n");
}

async function bundle(name) {
  const options = {
    entryPoints: { [name]: join(here, "src", name, "index.ts") },
    plugins: [flowchartsOnly],
    define,
    outdir: target,
    absWorkingDir: here,
    bundle: true,
    minify: true,
    format: "esm",
    target: ["es2022"],
    charset: "utf8",
    legalComments: "none",
    metafile: true,
    write: false,
  };
  const { outputFiles, metafile } = await build(options);
  const notice = noticeOf(metafile);
  return outputFiles.map(({ path, text }) => {
    const head = path.endsWith(".js") && notice ? `${banner}\n${notice}` : banner;
    return { path, contents: Buffer.from(`${head}\n${text}`) };
  });
}

async function buildTests() {
  await build({
    entryPoints: readdirSync(tests).filter((name) => name.endsWith(".test.ts")).map((name) => join(tests, name)),
    outdir: join(here, "build", "tests"),
    bundle: true,
    format: "esm",
    platform: "node",
    external: ["happy-dom"],
    loader: { ".css": "empty" },
    define,
    logLevel: "warning",
  });
}

function size(file) {
  const kB = (n) => `${(n / 1000).toFixed(1)} kB`;
  return `${basename(file.path).padEnd(14)} ${kB(file.contents.length).padStart(9)}  gzip ${kB(gzipSync(file.contents).length)}`;
}

function isCurrent(file) {
  try {
    return readFileSync(file.path).equals(Buffer.from(file.contents));
  } catch {
    return false;
  }
}

if (process.argv.includes("--tests")) {
  await buildTests();
} else {
  const files = (await Promise.all(bundles.map(bundle))).flat();
  for (const file of files) console.log(size(file));
  if (process.argv.includes("--verify")) {
    const stale = files.filter((file) => !isCurrent(file)).map((file) => relative(join(here, ".."), file.path));
    if (stale.length) {
      console.error(`Not what the sources give: ${stale.join(", ")}. Run "npm run build" and commit.`);
      process.exit(1);
    }
  } else {
    mkdirSync(target, { recursive: true });
    for (const file of files) writeFileSync(file.path, file.contents);
  }
}
