// Command foreign-peer is a node of edgevpn, as edgevpn's own command line starts it or as LocalAI does, for tests of
// other programs that are to work with both. It does what its flags say, answers questions on standard input, and stops
// when that closes.
package main

import (
	"context"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "vectors" {
		if err := printVectors(os.Args[2:]); err != nil {
			fail(err)
		}
		return
	}
	wanted, err := parse(os.Args[1:])
	if err != nil {
		fail(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	peer, err := start(ctx, wanted)
	if err != nil {
		fail(err)
	}
	if err := control(ctx, peer, os.Stdin, os.Stdout); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "foreign-peer:", err)
	os.Exit(1)
}
