// Go guest: goroutines, channels, a mutex, a select with timers, a panic that is recovered, sorting.
// usage: timers SCALE
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"
)

type job struct{ turn, seed int }
type result struct {
	turn int
	sum  [32]byte
}

func depth(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + depth(n-1)
}

func work(j job) (r result) {
	defer func() {
		if e := recover(); e != nil {
			r = result{j.turn, sha256.Sum256([]byte(fmt.Sprint(e)))}
		}
	}()
	numbers := make([]int, 3000)
	state := uint32(j.seed)
	for i := range numbers {
		state = state*1664525 + 1013904223
		numbers[i] = int(state >> 8)
	}
	sort.Slice(numbers, func(a, b int) bool {
		return numbers[a]%97 < numbers[b]%97 || numbers[a]%97 == numbers[b]%97 && numbers[a] < numbers[b]
	})
	text := fmt.Sprint(numbers[:50], depth(2000))
	counts := map[byte]int{}
	for i := range text {
		counts[text[i]]++
	}
	if j.turn%17 == 3 {
		panic(fmt.Sprintf("turn %d has %d commas", j.turn, counts[',']))
	}
	return result{j.turn, sha256.Sum256([]byte(fmt.Sprint(text, counts['1'], counts[' '])))}
}

func main() {
	scale, _ := strconv.Atoi(os.Args[1])
	jobs, results := make(chan job), make(chan result, 4)
	var workers sync.WaitGroup
	for i := 0; i < 5; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for j := range jobs {
				if j.turn%25 == 0 {
					time.Sleep(3 * time.Millisecond)
				}
				results <- work(j)
			}
		}()
	}
	go func() {
		for turn := 0; turn < scale; turn++ {
			jobs <- job{turn, turn*7919 + 1}
		}
		close(jobs)
		workers.Wait()
		close(results)
	}()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	var mutex sync.Mutex
	ticks, total, done := 0, [32]byte{}, 0
	for open := true; open; {
		select {
		case <-ticker.C:
			mutex.Lock()
			ticks++
			mutex.Unlock()
		case r, ok := <-results:
			if open = ok; !ok {
				break
			}
			for i := range total {
				total[i] ^= r.sum[i] + byte(r.turn)
			}
			if done++; done%100 == 0 {
				fmt.Printf("done %d\n", done)
			}
		}
	}
	fmt.Printf("all %d %x %v\n", done, total, ticks > 0)
}
