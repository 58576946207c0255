<?php
// PHP guest: recursion, generators, closures, sorting, json, exceptions, hashes, a file line by line.
// usage: php-cgi -q work.php SCALE DIRECTORY
[$scale, $directory] = [(int) $argv[1], $argv[2]];

function depth(int $n): int { return $n == 0 ? 0 : 1 + depth($n - 1); }

function primes(): Generator {
    $composites = [];
    for ($n = 2; ; $n++) {
        if (isset($composites[$n])) {
            $step = $composites[$n];
            unset($composites[$n]);
            for ($at = $n + $step; isset($composites[$at]); $at += $step) {}
            $composites[$at] = $step;
        } else {
            if ($n < 46341) $composites[$n * $n] = $n;
            yield $n;
        }
    }
}

class Noise {
    public function __construct(private int $state) {}
    public function __invoke(): int {
        return $this->state = ($this->state * 171 + 11213) % 53125;  // this PHP's ints have 32 bits
    }
}

$noise = new Noise(7);
$primes = primes();
$digest = '';
$lines = fopen("$directory/lines.txt", 'w');
for ($turn = 0; $turn < $scale; $turn++) {
    $deep = depth(500);
    $numbers = [];
    for ($i = 0; $i < 2000; $i++) $numbers[] = $noise();
    usort($numbers, fn($a, $b) => [$a % 97, -$a] <=> [$b % 97, -$b]);
    for ($i = 0; $i < 300; $i++) { $prime = $primes->current(); $primes->next(); }
    $text = json_encode(['turn' => $turn, 'deep' => $deep, 'first' => array_slice($numbers, 0, 8), 'prime' => $prime]);
    if (json_decode($text, true)['first'] !== array_slice($numbers, 0, 8)) exit(1);
    preg_match_all('/[a-z]+|\d{3,}/', $text, $words);
    try {
        throw new DomainException($words[0][$turn % count($words[0])]);
    } catch (DomainException $e) {
        $digest = hash('sha256', $digest . $e->getMessage() . $text);
    }
    fwrite($lines, "$turn $digest\n");
    if ($turn % 10 == 0) {
        echo "turn $turn: ", substr($digest, 0, 16), "\n";
        flush();
    }
}
fclose($lines);
echo "done $digest\n";
