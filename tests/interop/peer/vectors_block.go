package main

import (
	"bytes"
	"fmt"
	"time"

	"github.com/mudler/edgevpn/pkg/blockchain"
	"github.com/mudler/edgevpn/pkg/protocol"
	"github.com/mudler/edgevpn/pkg/types"
)

// genesisVector is the block that a ledger begins with.
type genesisVector struct {
	JSON   string `json:"json"`
	Hash   string `json:"hash"`
	Hashed string `json:"hashed"`
}

// blockVector is a block as a ledger says it.
type blockVector struct {
	What   string `json:"what"`
	UnixNS int64  `json:"unix_ns"`
	JSON   string `json:"json"`
	Hash   string `json:"hash"`
	Hashed string `json:"hashed"`
}

// valueVector is a value of the ledger.
type valueVector struct {
	What string `json:"what"`
	JSON string `json:"json"`
}

// said is what a ledger says to its network.
type said struct{ last []byte }

func (s *said) Write(bytes []byte) (int, error) {
	s.last = bytes
	return len(bytes), nil
}

// take is the newest block of a ledger, as it was said.
func (s *said) take(what string, ledger *blockchain.Ledger) (blockVector, error) {
	block := ledger.LastBlock()
	plain, err := unzipped(bytes.NewReader(s.last))
	if err != nil {
		return blockVector{}, err
	}
	if plain != text(block) {
		return blockVector{}, fmt.Errorf("the ledger said %s and holds %s", plain, text(block))
	}
	at, err := time.Parse("2006-01-02 15:04:05.999999999 -0700 MST", block.Timestamp)
	if err != nil {
		return blockVector{}, err
	}
	return blockVector{what, at.UnixNano(), plain, block.Hash, hashed(block)}, nil
}

// hashed is the text whose SHA-256 a block's hash is.
func hashed(block blockchain.Block) string {
	return fmt.Sprint(block.Index, block.Timestamp, block.Storage, block.PrevHash)
}

// blocks lets a ledger that signs nothing write what nodes write.
func blocks() (genesisVector, []blockVector, error) {
	var said said
	ledger := blockchain.New(&said, &blockchain.MemoryStore{})
	first := ledger.LastBlock()
	genesis := genesisVector{text(first), first.Hash, hashed(blockchain.Block{})}
	all := []blockVector{}
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"a heartbeat", func() { ledger.Add(protocol.HealthCheckKey, map[string]any{"12D3KooWX": "2026-01-02T02:04:05Z"}) }},
		{"a service", func() {
			ledger.Add(protocol.ServicesLedgerKey, map[string]any{"ssh": types.Service{PeerID: "12D3KooWX", Name: "ssh"}})
		}},
		{"two users at once", func() {
			ledger.Add(protocol.UsersLedgerKey, map[string]any{"b": types.User{PeerID: "b"}, "a": types.User{PeerID: "a", Timestamp: "now"}})
		}},
		{"a worker of LocalAI's", func() { ledger.Add("federated", map[string]any{"abcDEFghij": worker()}) }},
		{"odd letters", func() {
			ledger.Add("ä b", map[string]any{"": "<&>", "\"q\"": " \u2028\n\t\x7f\\", "ü": "größe 🦀", "B": nil, "Z": 1.5})
		}},
		{"one deleted", func() { ledger.Delete(protocol.UsersLedgerKey, "a") }},
		{"the last of a bucket deleted", func() { ledger.Delete(protocol.UsersLedgerKey, "b") }},
		{"a bucket deleted", func() { ledger.DeleteBucket("ä b") }},
	} {
		step.do()
		vector, err := said.take(step.what, ledger)
		if err != nil {
			return genesis, nil, fmt.Errorf("%s: %w", step.what, err)
		}
		all = append(all, vector)
	}
	return genesis, all, nil
}

func worker() nodeData {
	zone := time.FixedZone("", 3600)
	return nodeData{Name: "abcDEFghij", ID: "gpu1-abcDEFghij", LastSeen: time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, zone)}
}

func values() []valueVector {
	whole := worker()
	whole.TunnelAddress, whole.ServiceID, whole.LastSeen = "127.0.0.1:1", "x", time.Unix(1_767_225_600, 0).UTC()
	return []valueVector{
		{"service", text(types.Service{PeerID: "12D3KooWX", Name: "ssh"})},
		{"service", text(types.Service{})},
		{"user", text(types.User{PeerID: "12D3KooWX", Timestamp: time.Unix(1_767_225_600, 0).UTC().String()})},
		{"user", text(types.User{})},
		{"node_data", text(worker())},
		{"node_data", text(whole)},
		{"heartbeat", text(time.Unix(1_767_225_600, 0).UTC().Format(time.RFC3339))},
	}
}
