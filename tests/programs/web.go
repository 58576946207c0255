// A web server with a state: Go's own net/http, on the socket it is given as descriptor 3.
//
// /count answers with how many there have been, /echo with the body it is sent, /bytes?n=N with N
// bytes of a pattern, in pieces. /append adds a line with its number to /data/lines.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
)

func main() {
	listener, err := net.FileListener(os.NewFile(3, ""))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var count atomic.Int64
	http.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%d", count.Add(1))
	})
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		w.Write(body)
	})
	http.HandleFunc("/bytes", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		w.Header().Set("Content-Length", strconv.Itoa(n))
		piece := make([]byte, 4096)
		for at := 0; at < n; at += len(piece) {
			for i := range piece {
				piece[i] = byte((at + i) * 7 >> 3)
			}
			w.Write(piece[:min(len(piece), n-at)])
		}
	})
	var lines sync.Mutex
	line := 0
	http.HandleFunc("/append", func(w http.ResponseWriter, r *http.Request) {
		lines.Lock()
		defer lines.Unlock()
		file, err := os.OpenFile("/data/lines", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0600)
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		defer file.Close()
		line++
		fmt.Fprintf(file, "%d\n", line)
		fmt.Fprintf(w, "%d", line)
	})
	fmt.Println("ready")
	fmt.Fprintln(os.Stderr, http.Serve(listener, nil))
	os.Exit(1)
}
