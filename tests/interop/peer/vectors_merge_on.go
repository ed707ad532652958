//go:build ownership

package main

import (
	"fmt"
	"time"

	"github.com/mudler/edgevpn/pkg/blockchain"
	"github.com/mudler/edgevpn/pkg/hub"
	"github.com/mudler/edgevpn/pkg/protocol"
	"github.com/mudler/edgevpn/pkg/types"
)

// mergeVector is a ledger that enforces ownership, a block that it hears at a time, and what it holds then. What depends
// on the order of Go's maps, which is another each time, is several storages.
type mergeVector struct {
	What   string    `json:"what"`
	Before storage   `json:"before"`
	Heard  storage   `json:"heard"`
	UnixS  int64     `json:"unix_s"`
	After  []storage `json:"after"`
}

// How often a merge is tried, so that each order comes up.
const tries = 64

func merges(owner, thief writer) ([]mergeVector, error) {
	const services, users, beats, names = protocol.ServicesLedgerKey, protocol.UsersLedgerKey, protocol.HealthCheckKey, "dns"
	one := func(bucket, key string, entry blockchain.SignedData) storage { return storage{bucket: {key: entry}} }
	both := func(a, b storage) storage {
		joined := storage{}
		for _, of := range []storage{a, b} {
			for bucket, entries := range of {
				if joined[bucket] == nil {
					joined[bucket] = map[string]blockchain.SignedData{}
				}
				for key, entry := range entries {
					joined[bucket][key] = entry
				}
			}
		}
		return joined
	}
	service := func(w writer, after int64) storage {
		return one(services, "ssh", w.writes(services, "ssh", types.Service{PeerID: w.id, Name: "ssh"}, after))
	}
	beat := func(w writer, after int64) storage {
		return one(beats, w.id, w.writes(beats, w.id, instant(after).Format(time.RFC3339), after))
	}
	name := func(w writer, after int64) storage {
		return one(names, "a.b", w.writes(names, "a.b", map[string]string{"A": "10.1.0.1"}, after))
	}
	user := func(w writer, after int64) storage {
		return one(users, w.id, w.writes(users, w.id, types.User{PeerID: w.id}, after))
	}
	gone := owner.deletes(beats, owner.id, beat(owner, 0)[beats][owner.id], 900)
	all := []mergeVector{}
	for _, m := range []struct {
		what          string
		before, heard storage
		after         int64
	}{
		{"two entries and a heartbeat where nothing was", storage{}, both(both(service(owner, 0), user(owner, 0)), beat(owner, 0)), 1},
		{"a thief beside the sign of life of an owner that has none yet", service(owner, 0), both(service(thief, 5), beat(owner, 5)), 6},
		{"a thief beside the new sign of life of an owner that has expired", both(service(owner, 0), beat(owner, 0)), both(service(thief, 1000), beat(owner, 1000)), 1001},
		{"a thief of a name beside the new sign of life of an owner that has expired", both(name(owner, 0), beat(owner, 0)), both(name(thief, 1000), beat(owner, 1000)), 1001},
		{"a thief beside the tombstone of an owner's heartbeat", both(service(owner, 0), beat(owner, 800)), both(service(thief, 1000), one(beats, owner.id, gone)), 1001},
		{"a thief beside a heartbeat that is refused", both(service(owner, 0), beat(owner, 0)), both(service(thief, 1000), one(beats, owner.id, thief.writes(beats, owner.id, instant(1000).Format(time.RFC3339), 1000))), 1001},
		{"one that is refused beside one that is not", service(owner, 0), both(service(thief, -5), user(thief, 5)), 1},
		{"nothing", service(owner, 0), storage{}, 1},
		{"an empty bucket", service(owner, 0), storage{"empty": {}}, 1},
	} {
		vector := mergeVector{m.what, m.before, m.heard, instant(m.after).Unix(), nil}
		seen := map[string]bool{}
		for range tries {
			now := instant(m.after)
			held := ledger(&said{}, nil, m.before, &now)
			incoming := blockchain.Block{Index: 1000}.NewBlock(m.heard)
			if err := held.Update(nil, hub.NewMessage(zipped(text(incoming))), nil); err != nil {
				return nil, fmt.Errorf("%s: %w", m.what, err)
			}
			after := held.CurrentStorage()
			if !seen[text(after)] {
				seen[text(after)] = true
				vector.After = append(vector.After, after)
			}
		}
		all = append(all, vector)
	}
	return all, nil
}
