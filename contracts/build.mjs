// Compiles src/*.sol with the npm compiler and writes one artifact per contract, byte for byte the same on
// every machine: the compiler is pinned by package-lock.json, the settings are fixed below, and no path or date
// gets into the output.
//
//   node build.mjs            write artifacts/
//   node build.mjs --check    compile and compare with artifacts/, exit 1 on any difference
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const here = dirname(fileURLToPath(import.meta.url));
const artifactDir = join(here, "artifacts");
const published = ["Anchor", "GridToken", "Registry", "Rewards"];

// "cancun" is the newest set of instructions that the in-process EVM, anvil and the large rollups all run.
// Without a metadata hash in it, the bytecode depends on the code alone, not on comments.
const settings = {
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 1000 },
  metadata: { bytecodeHash: "none", appendCBOR: false },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode"] } },
};

const importLine = /^\s*import\s+(?:[^"']*from\s+)?["']([^"']+)["'];/gm;

// Resolves every import up front, so that the compiler's complete input is known and can be hashed.
function collectSources() {
  const sources = {};
  const visit = (name) => {
    if (sources[name]) return;
    const file = name.startsWith("src/") ? join(here, name) : require.resolve(name);
    const content = readFileSync(file, "utf8").replaceAll("\r\n", "\n");
    sources[name] = { content };
    for (const [, target] of content.matchAll(importLine)) {
      visit(target.startsWith(".") ? join(dirname(name), target).replaceAll("\\", "/") : target);
    }
  };
  for (const file of readdirSync(join(here, "src")).sort()) {
    if (file.endsWith(".sol")) visit(`src/${file}`);
  }
  return Object.fromEntries(Object.entries(sources).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function compile() {
  const solc = require("solc");
  const input = JSON.stringify({ language: "Solidity", sources: collectSources(), settings });
  const output = JSON.parse(solc.compile(input));
  const problems = output.errors ?? [];
  for (const problem of problems) console.error(problem.formattedMessage);
  if (problems.length > 0) {
    throw new Error(`solc reported ${problems.length} problem(s); warnings count as errors`);
  }
  const inputHash = createHash("sha256").update(input).digest("hex");
  return published.map((name) => {
    const { abi, evm } = output.contracts[`src/${name}.sol`][name];
    const deployed = evm.deployedBytecode;
    const immutables = Object.values(deployed.immutableReferences ?? {}).flat();
    const artifact = {
      contract: name,
      compiler: solc.version(),
      settings: { evmVersion: settings.evmVersion, optimizer: settings.optimizer, metadata: settings.metadata },
      inputSha256: inputHash,
      abi,
      bytecode: `0x${evm.bytecode.object}`,
      // What eth_getCode returns, with zeros where the constructor writes the immutables.
      deployedBytecode: `0x${deployed.object}`,
      immutables: immutables.map(({ start, length }) => [start, length]).sort(([a], [b]) => a - b),
    };
    const size = deployed.object.length / 2;
    return { file: `${name}.json`, text: `${JSON.stringify(artifact, null, 2)}\n`, size };
  });
}

function check(artifacts) {
  const expected = artifacts.map(({ file }) => file).sort();
  const found = readdirSync(artifactDir).sort();
  const wrong = found.filter((file) => !expected.includes(file)).map((file) => `${file}: nobody builds it`);
  for (const { file, text } of artifacts) {
    if (!found.includes(file)) wrong.push(`${file}: missing`);
    else if (readFileSync(join(artifactDir, file), "utf8") !== text) wrong.push(`${file}: differs from the sources`);
  }
  if (wrong.length > 0) {
    console.error(`artifacts/ is not what the sources compile to:\n  ${wrong.join("\n  ")}\nRun: npm run build`);
    process.exit(1);
  }
  console.log(`artifacts/ matches the sources (${artifacts.length} contracts)`);
}

function write(artifacts) {
  rmSync(artifactDir, { recursive: true, force: true });
  mkdirSync(artifactDir);
  for (const { file, text, size } of artifacts) {
    writeFileSync(join(artifactDir, file), text);
    console.log(`${file}: ${size} bytes deployed (limit 24576)`);
  }
}

const artifacts = compile();
if (process.argv.includes("--check")) check(artifacts);
else write(artifacts);
