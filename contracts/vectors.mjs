// Writes libs/chain/tests/golden/vectors.json: what independent JavaScript libraries make of the same inputs, for
// the Rust side to be compared with. Deterministic; `--check` compares instead of writing.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { FeeMarketEIP1559Transaction } from "@ethereumjs/tx";
import { Common } from "@ethereumjs/common";
import { StandardMerkleTree } from "@openzeppelin/merkle-tree";

const file = join(dirname(fileURLToPath(import.meta.url)), "../libs/chain/tests/golden/vectors.json");
const hex = (bytes) => `0x${Buffer.from(bytes).toString("hex")}`;

// A public test key (the first of the well-known development mnemonic); it guards nothing.
const key = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const receiver = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";

function transactions() {
  const cases = [
    { chainId: 1, nonce: 0, to: receiver, value: "0", data: "0x", gasLimit: 21000, maxFee: "1", tip: "0" },
    { chainId: 31337, nonce: 127, to: receiver, value: "1000000000000000000", data: "0x7f", gasLimit: 65535, maxFee: "2000000000", tip: "1" },
    { chainId: 42161, nonce: 128, to: receiver, value: "255", data: "0x80", gasLimit: 100000, maxFee: "30000000000", tip: "1000000000" },
    { chainId: 8453, nonce: 65536, to: null, value: "0", data: `0x${"60".repeat(300)}`, gasLimit: 3000000, maxFee: "340282366920938463463374607431768211455", tip: "7" },
    { chainId: 137, nonce: 1, to: receiver, value: "0", data: `0x${"00".repeat(55)}`, gasLimit: 90000, maxFee: "5", tip: "5" },
    { chainId: 137, nonce: 2, to: receiver, value: "0", data: `0x${"ff".repeat(56)}`, gasLimit: 90000, maxFee: "5", tip: "5" },
  ];
  return cases.map((one) => {
    const unsigned = FeeMarketEIP1559Transaction.fromTxData(
      {
        chainId: one.chainId,
        nonce: one.nonce,
        to: one.to ?? undefined,
        value: BigInt(one.value),
        data: one.data,
        gasLimit: one.gasLimit,
        maxFeePerGas: BigInt(one.maxFee),
        maxPriorityFeePerGas: BigInt(one.tip),
      },
      // Common checks the fee product against 2^256 and the init code size, both met here.
      { common: Common.custom({ chainId: one.chainId }, { hardfork: "london" }) },
    );
    const signed = unsigned.sign(Buffer.from(key, "hex"));
    return { ...one, raw: hex(signed.serialize()), hash: hex(signed.hash()), from: signed.getSenderAddress().toString() };
  });
}

function trees() {
  const account = (i) => `0x${(BigInt(i) * 0x9e3779b97f4a7c15n + 1n).toString(16).padStart(40, "0")}`;
  return [1, 2, 3, 4, 5, 7, 8, 9, 41].map((size) => {
    const leaves = Array.from({ length: size }, (_, i) => [account(i + 1), (BigInt(i + 1) ** 9n * 10n ** 9n).toString()]);
    const tree = StandardMerkleTree.of(leaves, ["address", "uint256"]);
    const proofs = leaves.map((leaf) => tree.getProof(leaf));
    return { leaves, root: tree.root, proofs };
  });
}

const text = `${JSON.stringify({ key, transactions: transactions(), trees: trees() }, null, 1)}\n`;
if (process.argv.includes("--check")) {
  if (!existsSync(file) || readFileSync(file, "utf8") !== text) {
    console.error(`${file} is not what this script makes. Run: npm run vectors`);
    process.exit(1);
  }
  console.log("the Rust test vectors match");
} else {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}
