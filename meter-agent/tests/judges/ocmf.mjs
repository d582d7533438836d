// Judges OCMF records from stdin, one per line, by the public key (SPKI, DER, hexadecimal) in the first
// argument: prints one JSON object per line, with the payload of those whose signature holds.
import { createInterface } from 'node:readline';
import ocmf from '@road-labs/ocmf';
import noble from '@road-labs/ocmf-crypto-noble';

const { Verifier } = ocmf;
const { Crypto } = noble;

const crypto = new Crypto();
const key = await crypto.decodeEcPublicKey(Buffer.from(process.argv[2], 'hex'), 'spki-der');
const verifier = new Verifier(crypto);
for await (const record of createInterface({ input: process.stdin })) {
  const { verified, value } = await verifier.parseAndVerify(record, key);
  console.log(JSON.stringify({ verified, payload: value?.payloadData }));
}
