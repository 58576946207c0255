# Ruby guest: recursion, fibers, blocks, sorting, exceptions, digests, a file written line by line.
# usage: work.rb SCALE DIRECTORY
scale = ARGV[0].to_i
directory = ARGV[1]

def depth(n)
  n == 0 ? 0 : 1 + depth(n - 1)
end

class Noise
  def initialize(seed)
    @state = seed
  end

  def next
    @state = (@state * 6364136223846793005 + 1442695040888963407) & 0xFFFF_FFFF_FFFF_FFFF
    @state >> 33
  end
end

primes = Fiber.new do
  composites = {}
  n = 2
  loop do
    if (step = composites.delete(n))
      at = n + step
      at += step while composites.key?(at)
      composites[at] = step
    else
      composites[n * n] = n
      Fiber.yield n
    end
    n += 1
  end
end

def mix(sum, text)
  text.each_byte { |b| sum = ((sum ^ b) * 1099511628211) & 0xFFFF_FFFF_FFFF_FFFF }
  sum
end

noise = Noise.new(7)
sum = 14695981039346656037
File.open("#{directory}/lines.txt", "w") do |lines|
  scale.times do |turn|
    deep = depth(500)
    numbers = Array.new(1500) { noise.next % 100_000 }.sort_by { |n| [n % 97, -n] }
    taken = Array.new(100) { primes.resume }
    record = { "turn" => turn, "deep" => deep, "first" => numbers.first(8), "prime" => taken.last }
    text = record.inspect
    words = text.scan(/[a-z]+|\d{3,}/)
    begin
      raise KeyError, words[turn % words.length]
    rescue KeyError => e
      sum = mix(sum, e.message)
    ensure
      sum = mix(sum, text)
    end
    found = catch(:found) do
      numbers.each_slice(7) { |slice| throw :found, slice.sum if slice.sum % 3 == turn % 3 }
      0
    end
    sum = mix(sum, (3**(4000 + turn) % 10**40 + found).to_s)
    lines.puts "#{turn} #{sum.to_s(16)}"
    if turn % 10 == 0
      puts "turn #{turn}: #{sum.to_s(16)}"
      $stdout.flush
    end
  end
end
puts "done #{sum.to_s(16)}"
