// The bad-release service of bench/delivery.py for Docker Swarm: several copies listen on one port of the host, and the
// kernel spreads connections over them, in place of Swarm's own mesh. PORT, VERSION, WORK_MS and FAIL_SHARE as in
// http_service.py; SIGTERM lets running requests end.
package main

import (
	"context"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

const soReusePort = 15 // Linux; the syscall package has no name for it

func main() {
	work, _ := strconv.ParseFloat(os.Getenv("WORK_MS"), 64)
	failing, _ := strconv.ParseFloat(os.Getenv("FAIL_SHARE"), 64)
	version := os.Getenv("VERSION")
	http.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		time.Sleep(time.Duration(work * float64(time.Millisecond)))
		if rand.Float64() < failing {
			answer.WriteHeader(http.StatusInternalServerError)
		}
		answer.Write([]byte(version))
	})
	shared := net.ListenConfig{Control: func(_, _ string, socket syscall.RawConn) (failed error) {
		socket.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1)
		})
		return failed
	}}
	listener, failed := shared.Listen(context.Background(), "tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if failed != nil {
		panic(failed)
	}
	server := &http.Server{}
	ending, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(ending, syscall.SIGTERM)
	go func() {
		<-ending
		server.Shutdown(context.Background())
		close(done)
	}()
	server.Serve(listener)
	<-done
}
