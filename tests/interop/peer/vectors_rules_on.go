//go:build ownership

package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/mudler/edgevpn/pkg/blockchain"
	"github.com/mudler/edgevpn/pkg/protocol"
	"github.com/mudler/edgevpn/pkg/types"
)

// rules asks edgevpn's own ledger which entries it takes.
func rules(owner, thief writer) ([]ruleVector, error) {
	all := []ruleVector{}
	var failure error
	const services, users, beats, open, names = protocol.ServicesLedgerKey, protocol.UsersLedgerKey, protocol.HealthCheckKey, "federated", "dns"
	rule := func(what string, before storage, bucket, key string, entry blockchain.SignedData, after int64) {
		if before == nil {
			before = storage{}
		}
		taken, err := take(before, bucket, key, entry, after)
		if err != nil && failure == nil {
			failure = fmt.Errorf("%s: %w", what, err)
		}
		all = append(all, ruleVector{what, before, bucket, key, json.RawMessage(text(entry)), instant(after).Unix(), taken})
	}
	with := func(bucket, key string, entry blockchain.SignedData) storage { return storage{bucket: {key: entry}} }
	beat := func(of storage, who writer, entry blockchain.SignedData) storage {
		of[beats] = map[string]blockchain.SignedData{who.id: entry}
		return of
	}
	at := func(after int64) string { return instant(after).Format(time.RFC3339) }
	legacy := func(value any) blockchain.SignedData {
		return blockchain.SignedData{Value: blockchain.Data(text(value))}
	}
	service := func(w writer) types.Service { return types.Service{PeerID: w.id, Name: "ssh"} }
	name := map[string]string{"A": "10.1.0.1"}

	// Where nothing was.
	ours := owner.writes(services, "ssh", service(owner), 0)
	rule("the owner writes", nil, services, "ssh", ours, 0)
	rule("the value names another", nil, services, "ssh", thief.writes(services, "ssh", service(owner), 0), 0)
	rule("the value names nobody", nil, services, "ssh", owner.writes(services, "ssh", "text", 0), 0)
	rule("the value names an empty peer", nil, services, "ssh", owner.writes(services, "ssh", types.Service{}, 0), 0)
	rule("nobody signed", nil, services, "ssh", legacy(service(owner)), 0)
	rule("a tombstone of nothing", nil, services, "ssh", owner.deletes(services, "ssh", ours, 1), 1)
	for _, bucket := range []string{users, beats, "egress"} {
		rule("the key writes in "+bucket, nil, bucket, owner.id, owner.writes(bucket, owner.id, at(0), 0), 0)
		rule("another writes in "+bucket, nil, bucket, owner.id, thief.writes(bucket, owner.id, at(0), 0), 0)
		rule("nobody signed in "+bucket, nil, bucket, owner.id, legacy(at(0)), 0)
	}
	for _, bucket := range []string{"machines", "files"} {
		rule("the peer of the value writes in "+bucket, nil, bucket, "x", owner.writes(bucket, "x", service(owner), 0), 0)
		rule("another writes in "+bucket, nil, bucket, "x", thief.writes(bucket, "x", service(owner), 0), 0)
	}

	// Where an owner is, with heartbeats of several kinds.
	for _, life := range []struct {
		what  string
		entry *blockchain.SignedData
		after int64
	}{
		{"without heartbeat", nil, 10},
		{"with a heartbeat", ptr(owner.writes(beats, owner.id, at(0), 0)), 10},
		{"with a heartbeat as old as it may be", ptr(owner.writes(beats, owner.id, at(0), 0)), 480},
		{"with a heartbeat a second too old", ptr(owner.writes(beats, owner.id, at(0), 0)), 481},
		{"with an old text in a new heartbeat", ptr(owner.writes(beats, owner.id, at(-1000), 0)), 10},
		{"with a new text in an old heartbeat", ptr(owner.writes(beats, owner.id, at(0), -1000)), 10},
		{"with a text of the future in a heartbeat", ptr(owner.writes(beats, owner.id, at(5000), 0)), 10},
		{"with a heartbeat that is no time", ptr(owner.writes(beats, owner.id, "x", 0)), 10},
		{"with a heartbeat of another zone", ptr(owner.writes(beats, owner.id, "2026-01-01T01:00:00+01:00", 0)), 10},
		{"with a heartbeat that nobody signed", ptr(legacy(at(0))), 10},
		{"with a heartbeat taken away", ptr(owner.deletes(beats, owner.id, owner.writes(beats, owner.id, at(0), 0), 1)), 10},
	} {
		held := func(bucket, key string, entry blockchain.SignedData) storage {
			before := with(bucket, key, entry)
			if life.entry != nil {
				beat(before, owner, *life.entry)
			}
			return before
		}
		before := held(services, "ssh", ours)
		rule("a thief writes over an owner "+life.what, before, services, "ssh", thief.writes(services, "ssh", service(thief), 5), life.after)
		rule("a thief deletes from an owner "+life.what, before, services, "ssh", thief.deletes(services, "ssh", ours, 5), life.after)
		rule("an owner "+life.what+" writes again", before, services, "ssh", owner.writes(services, "ssh", service(owner), 5), life.after)
		unsigned := held(services, "ssh", legacy(service(owner)))
		rule("a thief signs over an unsigned entry of an owner "+life.what, unsigned, services, "ssh", thief.writes(services, "ssh", service(thief), 5), life.after)
		rule("a thief deletes an unsigned entry of an owner "+life.what, unsigned, services, "ssh", thief.deletes(services, "ssh", legacy(service(owner)), 5), life.after)
		rule("an owner "+life.what+" signs an unsigned entry", unsigned, services, "ssh", owner.writes(services, "ssh", service(owner), 5), life.after)
		dns := held(names, "a.b", owner.writes(names, "a.b", name, 0))
		rule("a thief takes a name of an owner "+life.what, dns, names, "a.b", thief.writes(names, "a.b", name, 5), life.after)
	}
	rule("a name that nobody had", nil, names, "a.b", owner.writes(names, "a.b", name, 0), 0)
	rule("a name that nobody signed", nil, names, "a.b", legacy(name), 0)
	rule("somebody signs a name that nobody signed", with(names, "a.b", legacy(name)), names, "a.b", owner.writes(names, "a.b", name, 0), 0)
	rule("an unsigned entry over a signed one", with(services, "ssh", ours), services, "ssh", legacy(service(owner)), 0)

	// The owner of users and heartbeats, after long.
	old := owner.writes(users, owner.id, types.User{PeerID: owner.id}, 0)
	rule("a thief writes over a user that has expired", with(users, owner.id, old), users, owner.id, thief.writes(users, owner.id, types.User{PeerID: thief.id}, 9000), 9000)
	rule("a thief deletes a user that has expired", with(users, owner.id, old), users, owner.id, thief.deletes(users, owner.id, old, 9000), 9000)
	lived := owner.writes(beats, owner.id, at(0), 0)
	for _, after := range []int64{480, 481} {
		rule(fmt.Sprintf("a thief deletes a heartbeat of %d seconds", after), with(beats, owner.id, lived), beats, owner.id, thief.deletes(beats, owner.id, lived, after), after)
	}
	odd := owner.writes(beats, owner.id, at(0), -1000)
	rule("a thief deletes a heartbeat whose text is new and whose time is old", with(beats, owner.id, odd), beats, owner.id, thief.deletes(beats, owner.id, odd, 5), 5)
	odd = owner.writes(beats, owner.id, at(-1000), 0)
	rule("a thief deletes a heartbeat whose text is old and whose time is new", with(beats, owner.id, odd), beats, owner.id, thief.deletes(beats, owner.id, odd, 5), 5)

	// Versions.
	older, newer := owner.writes(services, "ssh", service(owner), -5), owner.writes(services, "ssh", service(owner), 5)
	rule("the same again", with(services, "ssh", ours), services, "ssh", ours, 0)
	rule("an older version", with(services, "ssh", ours), services, "ssh", older, 0)
	rule("a newer version", with(services, "ssh", ours), services, "ssh", newer, 5)
	rule("a version of the future", with(services, "ssh", ours), services, "ssh", owner.writes(services, "ssh", service(owner), 1<<30), 5)
	other := service(owner)
	other.Name = "other"
	rival := owner.writes(services, "ssh", other, 0)
	rule("one of two of the same version", with(services, "ssh", ours), services, "ssh", rival, 0)
	rule("the other of two of the same version", with(services, "ssh", rival), services, "ssh", ours, 0)
	theirs := thief.writes(services, "ssh", service(thief), 0)
	rule("a thief's of the same version over one that has expired", with(services, "ssh", ours), services, "ssh", theirs, 0)
	rule("an owner's of the same version over a thief that has expired", with(services, "ssh", theirs), services, "ssh", ours, 0)

	// What was deleted.
	gone := owner.deletes(services, "ssh", ours, 5)
	rule("the owner deletes", with(services, "ssh", ours), services, "ssh", gone, 5)
	rule("the owner deletes what is newer", with(services, "ssh", owner.writes(services, "ssh", service(owner), 50)), services, "ssh", gone, 50)
	rule("what was deleted comes back with an older version", with(services, "ssh", gone), services, "ssh", ours, 5)
	rule("what was deleted comes back with a newer version", with(services, "ssh", gone), services, "ssh", owner.writes(services, "ssh", service(owner), 6), 6)
	rule("what was deleted comes back as another's", with(services, "ssh", gone), services, "ssh", thief.writes(services, "ssh", service(thief), 6), 6)
	lives := beat(with(services, "ssh", gone), owner, owner.writes(beats, owner.id, at(5), 5))
	rule("what a living owner deleted comes back as another's", lives, services, "ssh", thief.writes(services, "ssh", service(thief), 6), 6)
	rule("what a living owner deleted is deleted by another", lives, services, "ssh", thief.deletes(services, "ssh", gone, 6), 6)
	rule("what was deleted is deleted again", with(services, "ssh", gone), services, "ssh", owner.deletes(services, "ssh", ours, 6), 6)
	tampered := owner.writes(services, "ssh", service(owner), 6)
	tampered.Sig[0] ^= 1
	rule("a wrong signature over a right one", with(services, "ssh", ours), services, "ssh", tampered, 6)

	// Buckets of nobody's.
	data, later := owner.writes(open, "x", worker(), 0), thief.writes(open, "x", worker(), 5)
	forged := thief.writes(open, "x", worker(), 5)
	forged.Sig[0] ^= 1
	for _, before := range []struct {
		what string
		of   storage
	}{
		{"nothing", nil}, {"an unsigned one", with(open, "x", legacy(worker()))}, {"a signed one", with(open, "x", data)},
		{"a deleted one", with(open, "x", owner.deletes(open, "x", data, 1))},
	} {
		rule("an unsigned one over "+before.what, before.of, open, "x", legacy("other"), 9)
		rule("an older one over "+before.what, before.of, open, "x", owner.writes(open, "x", worker(), -5), 9)
		rule("one of the same version over "+before.what, before.of, open, "x", thief.writes(open, "x", "other", 0), 9)
		rule("a newer one of another over "+before.what, before.of, open, "x", later, 9)
		rule("a newer one with a wrong signature over "+before.what, before.of, open, "x", forged, 9)
		rule("a tombstone of another over "+before.what, before.of, open, "x", thief.deletes(open, "x", data, 6), 9)
		rule("a version without owner over "+before.what, before.of, open, "x", blockchain.SignedData{Value: "1", Version: 1 << 62}, 9)
	}
	return all, failure
}

func ptr[T any](value T) *T { return &value }
