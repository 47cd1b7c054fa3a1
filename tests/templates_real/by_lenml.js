// In a process of its own: ids by lenml's own JavaScript. A job on stdin, the answers on stdout.
const job = JSON.parse(require("fs").readFileSync(0, "utf8"));
const answers = {};
for (const [folder, texts] of Object.entries(job.texts)) {
  const tokenizer = require(folder + "/dist/main.js").fromPreTrained();
  answers[folder] = texts.map((text) => tokenizer.encode(text, { add_special_tokens: false }));
}
console.log(JSON.stringify(answers));
