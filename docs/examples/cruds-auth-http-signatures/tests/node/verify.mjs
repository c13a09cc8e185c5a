// Reads a JSON array of {algorithm, key, request} and writes what verifyMessage says of each.
import { text } from "node:stream/consumers";
import { createVerifier, httpbis } from "http-message-signatures";

const answers = [];
for (const { algorithm, key, request } of JSON.parse(await text(process.stdin))) {
  const material = algorithm === "hmac-sha256" ? Buffer.from(key, "base64") : key;
  const keyLookup = async ({ keyid }) =>
    keyid === "key-1" ? { id: keyid, algs: [algorithm], verify: createVerifier(material, algorithm) } : null;
  try {
    answers.push(await httpbis.verifyMessage({ keyLookup, all: true }, request));
  } catch (error) {
    answers.push(`${error.name}: ${error.message}`);
  }
}
process.stdout.write(JSON.stringify(answers));
