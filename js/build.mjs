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
const entry = (name) => join(here, "src", name, "index.ts");
const entries = { chart: entry("chart"), progress: entry("progress") };
const licence = readFileSync(join(here, "node_modules", "uplot", "LICENSE"), "utf8").trim();
const banner = `/* @generated from js/src by "npm run build": edit the sources, not this file. */`;
// Bundles of one build find its library on the page, and those of another do not.
const shared = ["chart.ts", "library.ts", "lines.ts"].map((name) => readFileSync(join(here, "src", "shared", name)));
const define = { LIBRARY_VERSION: JSON.stringify(createHash("sha256").update(Buffer.concat(shared)).digest("hex").slice(0, 12)) };
const notice = `/*! It holds uPlot (https://github.com/leeoniya/uPlot):\n${licence} */`;

async function bundle() {
  const result = await build({
    entryPoints: entries,
    outdir: target,
    absWorkingDir: here,
    bundle: true,
    minify: true,
    format: "esm",
    target: ["es2022"],
    charset: "utf8",
    legalComments: "none",
    banner: { js: banner, css: banner },
    define,
    metafile: true,
    write: false,
  });
  const holdsUplot = ([, output]) => Object.keys(output.inputs).some((path) => path.includes("node_modules/uplot/"));
  const holders = Object.entries(result.metafile.outputs).filter(holdsUplot).map(([path]) => basename(path));
  return result.outputFiles.map((file) => (holders.includes(basename(file.path)) ? withNotice(file) : file));
}

/** The licence goes where the code goes. */
function withNotice(file) {
  const [first, ...rest] = file.text.split("\n");
  return { path: file.path, contents: Buffer.from([first, notice, ...rest].join("\n")) };
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
  const files = await bundle();
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
