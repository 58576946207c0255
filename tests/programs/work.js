// QuickJS guest: recursion, generators, closures, promises, sorting, JSON, exceptions, regular expressions.
// usage: work.js SCALE
const scale = Number(args[1]);

function depth(n) { return n === 0 ? 0 : 1 + depth(n - 1); }

function* primes() {
  const composites = new Map();
  for (let n = 2; ; n++) {
    const step = composites.get(n);
    if (step) {
      composites.delete(n);
      let at = n + step;
      while (composites.has(at)) at += step;
      composites.set(at, step);
    } else {
      composites.set(n * n, n);
      yield n;
    }
  }
}

function noise(seed) {
  let state = seed;
  return () => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) >> 3;
}

function mix(sum, text) {
  for (let i = 0; i < text.length; i++) sum = BigInt.asUintN(64, (sum ^ BigInt(text.charCodeAt(i))) * 1099511628211n);
  return sum;
}

async function main() {
  const next = noise(7);
  const source = primes();
  let sum = 14695981039346656037n;
  for (let turn = 0; turn < scale; turn++) {
    const deep = depth(200);
    const numbers = Array.from({ length: 1000 }, () => next() % 100000).sort((a, b) => a % 97 - b % 97 || b - a);
    let prime = 0;
    for (let i = 0; i < 200; i++) prime = source.next().value;
    const text = JSON.stringify({ turn, deep, first: numbers.slice(0, 8), prime });
    if (JSON.parse(text).first[7] !== numbers[7]) throw new Error("JSON");
    const words = text.match(/[a-z]+|\d{3,}/g);
    try {
      await Promise.reject(new RangeError(words[turn % words.length]));
    } catch (error) {
      sum = mix(sum, error.message + text);
    }
    let x = 0;
    for (let i = 1; i < 2000; i++) x += Math.sqrt(i) / (i + turn);
    sum = mix(sum, String(x));
    if (turn % 10 === 0) print(`turn ${turn}: ${sum.toString(16)}`);
  }
  print(`done ${sum.toString(16)}`);
}

main();
