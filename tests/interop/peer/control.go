package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// question is one line on standard input.
type question struct {
	ID      int    `json:"id"`
	Do      string `json:"do"`
	Bucket  string `json:"bucket"`
	Key     string `json:"key"`
	Value   any    `json:"value"`
	Address string `json:"address"`
}

// answer is one line on standard output.
type answer struct {
	ID    int    `json:"id"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	Told  any    `json:"told,omitempty"`
}

type ready struct {
	Event     string   `json:"event"`
	Peer      string   `json:"peer"`
	Addresses []string `json:"addresses"`
	Version   string   `json:"version"`
}

// connected is a peer as this one sees it.
type connected struct {
	Peer      string   `json:"peer"`
	Addresses []string `json:"addresses"`
	Protocols []string `json:"protocols"`
}

// entry is one key of the ledger.
type entry struct {
	Value  string `json:"value"`
	Signed bool   `json:"signed"`
}

// state is the newest block.
type state struct {
	Index   int                         `json:"index"`
	Hash    string                      `json:"hash"`
	Storage map[string]map[string]entry `json:"storage"`
}

// control tells that the peer is ready, and answers questions until there are no more.
func control(ctx context.Context, p *foreign, in io.Reader, out io.Writer) error {
	var mutex sync.Mutex
	say := func(line any) error {
		mutex.Lock()
		defer mutex.Unlock()
		return json.NewEncoder(out).Encode(line)
	}
	if err := say(ready{"ready", p.host.ID().String(), p.addresses(), edgevpnVersion}); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			return fmt.Errorf("not a question: %w", err)
		}
		a := answer{ID: q.ID}
		if told, err := p.answer(ctx, q); err != nil {
			a.Error = err.Error()
		} else {
			a.OK, a.Told = true, told
		}
		if err := say(a); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (p *foreign) answer(ctx context.Context, q question) (any, error) {
	switch q.Do {
	case "peers":
		return p.peers(), nil
	case "ledger":
		return p.state(), nil
	case "put":
		p.ledger.Add(q.Bucket, map[string]any{q.Key: q.Value})
		return nil, nil
	case "delete":
		p.ledger.Delete(q.Bucket, q.Key)
		return nil, nil
	case "nodes":
		return p.table.nodes(), nil
	case "connect":
		info, err := peer.AddrInfoFromString(q.Address)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return nil, p.host.Connect(ctx, *info)
	default:
		return nil, fmt.Errorf("%q is nothing that can be asked", q.Do)
	}
}

func (p *foreign) addresses() []string {
	var all []string
	for _, address := range p.host.Addrs() {
		all = append(all, fmt.Sprintf("%s/p2p/%s", address, p.host.ID()))
	}
	return all
}

func (p *foreign) peers() []connected {
	all := []connected{}
	for _, id := range p.host.Network().Peers() {
		c := connected{Peer: id.String()}
		for _, connection := range p.host.Network().ConnsToPeer(id) {
			c.Addresses = append(c.Addresses, connection.RemoteMultiaddr().String())
		}
		protocols, err := p.host.Peerstore().GetProtocols(id)
		if err == nil {
			for _, protocol := range protocols {
				c.Protocols = append(c.Protocols, string(protocol))
			}
		}
		all = append(all, c)
	}
	return all
}

func (p *foreign) state() state {
	block := p.ledger.LastBlock()
	s := state{Index: block.Index, Hash: block.Hash, Storage: map[string]map[string]entry{}}
	for bucket, entries := range block.Storage {
		s.Storage[bucket] = map[string]entry{}
		for key, raw := range entries {
			text, signed := value(raw)
			s.Storage[bucket][key] = entry{text, signed}
		}
	}
	return s
}
