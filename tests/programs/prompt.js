// A prompt on QuickJS's own line reader and evaluator.

import * as std from 'std';

for (;;) {
  std.out.puts('qjs > ');
  std.out.flush();
  const line = std.in.getline();
  if (line === null) break;
  try {
    print(std.evalScript(line));
  } catch (error) {
    print(String(error));
  }
}
