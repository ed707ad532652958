//go:build !ownership

package main

// ownerships are the modes that a running node is listened to in.
var ownerships = []string{"off"}

// entryVector is an entry that its owner has signed; this version knows none.
type entryVector struct{}

// ruleVector is a decision over an entry that somebody has signed; this version makes none.
type ruleVector struct{}

// mergeVector is what becomes of such entries; nothing in this version.
type mergeVector struct{}

func signed(v *vectors) error {
	v.Entries, v.Rules, v.Merges = []entryVector{}, []ruleVector{}, []mergeVector{}
	return nil
}
