// The steps of the drivers of the Go SDKs. scripts/test-sdk explains them.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

func must(err error) {
	check(err == nil, "unexpected error:", err)
}

func check(condition bool, message ...any) {
	if !condition {
		panic(fmt.Sprintln(message...))
	}
}

// step runs a step of a driver and prints its name. If the step fails, the driver exits with 1.
func step(name string, run func()) {
	defer func() {
		if failure := recover(); failure != nil {
			fmt.Fprintf(os.Stderr, "FAILED  %s: %v\n", name, failure)
			os.Exit(1)
		}
	}()
	run()
	fmt.Println("ok      " + name)
}

// expireKey checks that a key that was issued for a minute expires within this minute, and waits until it has expired.
func expireKey(expiresAt time.Time) {
	left := time.Until(expiresAt)
	check(left > 0 && left <= time.Minute, "the key expires in", left)
	file := os.Args[3]
	must(os.WriteFile(file, nil, 0o600))
	for {
		time.Sleep(50 * time.Millisecond)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
}
