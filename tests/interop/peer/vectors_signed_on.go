//go:build ownership

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/mudler/edgevpn/pkg/blockchain"
	"github.com/mudler/edgevpn/pkg/hub"
	"github.com/mudler/edgevpn/pkg/protocol"
	"github.com/mudler/edgevpn/pkg/types"
)

// ownerships are the modes that a running node is listened to in.
var ownerships = []string{"off", "enforce"}

// How long an owner lives after a heartbeat in the rules.
const ttl = 480 * time.Second

// entryVector is an entry, and whether its signature is its owner's.
type entryVector struct {
	What    string `json:"what"`
	Bucket  string `json:"bucket"`
	Key     string `json:"key"`
	UnixNS  int64  `json:"unix_ns"`
	JSON    string `json:"json"`
	Refused string `json:"refused"`
}

// ruleVector is a ledger that enforces ownership, an entry that it hears at a time, and whether it takes that.
type ruleVector struct {
	What   string          `json:"what"`
	Before storage         `json:"before"`
	Bucket string          `json:"bucket"`
	Key    string          `json:"key"`
	Entry  json.RawMessage `json:"entry"`
	UnixS  int64           `json:"unix_s"`
	Taken  bool            `json:"taken"`
}

type storage = map[string]map[string]blockchain.SignedData

// writer is somebody who signs.
type writer struct {
	id     string
	signer blockchain.Signer
}

func newWriter(letter byte) (writer, error) {
	private, err := known(letter)
	if err != nil {
		return writer{}, err
	}
	id, err := peer.IDFromPrivateKey(private)
	if err != nil {
		return writer{}, err
	}
	signer, err := blockchain.NewSigner(private)
	return writer{id.String(), signer}, err
}

// The time of everything here; after it in seconds.
func instant(after int64) time.Time { return time.Unix(1_767_225_600+after, 123_456_789).UTC() }

// ledger is one that enforces ownership and holds a storage.
func ledger(said *said, by *writer, before storage, now *time.Time) *blockchain.Ledger {
	store := &blockchain.MemoryStore{}
	if before != nil {
		store.Add(blockchain.Block{}.NewBlock(before))
	}
	options := []blockchain.LedgerOption{
		blockchain.WithOwnership(blockchain.OwnershipEnforce, blockchain.DefaultRegistry(ttl), ttl),
		blockchain.WithClock(func() time.Time { return *now }),
		blockchain.WithViolationLogger(func(string, ...any) {}),
	}
	if by != nil {
		options = append(options, blockchain.WithSigner(by.signer))
	}
	return blockchain.New(said, store, options...)
}

// writes is what somebody writes at a time where nothing was before.
func (w *writer) writes(bucket, key string, value any, after int64) blockchain.SignedData {
	now := instant(after)
	ledger := ledger(&said{}, w, nil, &now)
	ledger.Add(bucket, map[string]any{key: value})
	return ledger.CurrentStorage()[bucket][key]
}

// deletes is what somebody writes to take away an entry.
func (w *writer) deletes(bucket, key string, before blockchain.SignedData, after int64) blockchain.SignedData {
	now := instant(after)
	ledger := ledger(&said{}, w, storage{bucket: {key: before}}, &now)
	ledger.Delete(bucket, key)
	return ledger.CurrentStorage()[bucket][key]
}

func signed(v *vectors) error {
	owner, err := newWriter('o')
	if err != nil {
		return err
	}
	thief, err := newWriter('t')
	if err != nil {
		return err
	}
	if v.Entries, err = entries(owner); err != nil {
		return err
	}
	block, err := signedBlocks(owner, thief)
	if err != nil {
		return err
	}
	v.Blocks = append(v.Blocks, block...)
	if v.Rules, err = rules(owner, thief); err != nil {
		return err
	}
	v.Merges, err = merges(owner, thief)
	return err
}

func entries(owner writer) ([]entryVector, error) {
	all := []entryVector{}
	add := func(what, bucket, key string, after int64, entry blockchain.SignedData) {
		vector := entryVector{what, bucket, key, instant(after).UnixNano(), text(entry), ""}
		if err := blockchain.Verify(bucket, key, entry); err != nil {
			vector.Refused = err.Error()
		}
		all = append(all, vector)
	}
	service := owner.writes(protocol.ServicesLedgerKey, "ssh", types.Service{PeerID: owner.id, Name: "ssh"}, 0)
	add("a service", protocol.ServicesLedgerKey, "ssh", 0, service)
	add("a user", protocol.UsersLedgerKey, owner.id, 1, owner.writes(protocol.UsersLedgerKey, owner.id, types.User{PeerID: owner.id}, 1))
	beat := instant(2).Format(time.RFC3339)
	add("a heartbeat", protocol.HealthCheckKey, owner.id, 2, owner.writes(protocol.HealthCheckKey, owner.id, beat, 2))
	add("a worker of LocalAI's", "federated", "abcDEFghij", 3, owner.writes("federated", "abcDEFghij", worker(), 3))
	odd := "<&> \"größe\" \u2028 🦀"
	add("odd letters", "ä b", "ü:\n", 4, owner.writes("ä b", "ü:\n", odd, 4))
	add("a name", "dns", "a.b", 5, owner.writes("dns", "a.b", map[string]string{"A": "10.1.0.1"}, 5))
	gone := owner.deletes(protocol.ServicesLedgerKey, "ssh", service, 6)
	add("a service taken away", protocol.ServicesLedgerKey, "ssh", 6, gone)

	for _, tampered := range []struct {
		what string
		do   func(*blockchain.SignedData)
	}{
		{"its value was changed", func(e *blockchain.SignedData) { e.Value += " " }},
		{"its version was changed", func(e *blockchain.SignedData) { e.Version++ }},
		{"its time was changed", func(e *blockchain.SignedData) { e.UpdatedAt++ }},
		{"its deletion was changed", func(e *blockchain.SignedData) { e.Deleted = true }},
		{"its signature was changed", func(e *blockchain.SignedData) { e.Sig[7] ^= 1 }},
		{"its signature is missing", func(e *blockchain.SignedData) { e.Sig = nil }},
		{"its owner is nobody", func(e *blockchain.SignedData) { e.Owner = "nobody" }},
	} {
		changed := service
		changed.Sig = append([]byte(nil), service.Sig...)
		tampered.do(&changed)
		add(tampered.what, protocol.ServicesLedgerKey, "ssh", 0, changed)
	}
	add("it is of another key", protocol.ServicesLedgerKey, "web", 0, service)
	add("it is of another bucket", "files", "ssh", 0, service)
	return all, nil
}

// signedBlocks are what a ledger says that holds entries of two owners and one of nobody's.
func signedBlocks(owner, thief writer) ([]blockVector, error) {
	now := instant(0)
	var heard said
	theirs := ledger(&said{}, &thief, nil, &now)
	theirs.Add(protocol.ServicesLedgerKey, map[string]any{"web": types.Service{PeerID: thief.id, Name: "web"}})
	theirs.Add(protocol.UsersLedgerKey, map[string]any{thief.id: types.User{PeerID: thief.id}})
	before := maps.Clone(theirs.CurrentStorage())
	before["federated"] = map[string]blockchain.SignedData{"old": {Value: blockchain.Data(text(worker()))}}
	ours := ledger(&heard, &owner, before, &now)
	all := []blockVector{}
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"signed entries of two owners and one of nobody's", func() {
			ours.Add(protocol.ServicesLedgerKey, map[string]any{"ssh": types.Service{PeerID: owner.id, Name: "ssh"}})
		}},
		{"a signed heartbeat", func() {
			ours.Add(protocol.HealthCheckKey, map[string]any{owner.id: instant(0).Format(time.RFC3339)})
		}},
		{"a signed entry taken away", func() {
			now = instant(1)
			ours.Delete(protocol.ServicesLedgerKey, "ssh")
		}},
	} {
		step.do()
		vector, err := heard.take(step.what, ours)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
		all = append(all, vector)
	}
	return all, nil
}

// take says whether a ledger that holds a storage takes an entry at a time.
func take(before storage, bucket, key string, entry blockchain.SignedData, after int64) (bool, error) {
	now := instant(after)
	held := ledger(&said{}, nil, before, &now)
	incoming := blockchain.Block{Index: 1000}.NewBlock(storage{bucket: {key: entry}})
	if err := held.Update(nil, hub.NewMessage(zipped(text(incoming))), nil); err != nil {
		return false, err
	}
	old, had := before[bucket][key]
	is, has := held.CurrentStorage()[bucket][key]
	return has && (!had || !reflect.DeepEqual(old, is)), nil
}
