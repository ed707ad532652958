package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/mudler/edgevpn/pkg/blockchain"
	"github.com/mudler/edgevpn/pkg/node"
	"github.com/mudler/edgevpn/pkg/protocol"
	"github.com/mudler/edgevpn/pkg/types"
)

// A worker whose last sign of life is older, by this machine's clock, is offline to LocalAI.
const onlineFor = 40 * time.Second

// What LocalAI's federated server says where it has nobody to send a client to.
const nobody = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n" +
	"<html><body><h1>Sorry, waiting for nodes to connect</h1></body></html>"

// nodeData is what LocalAI writes of a worker: its fields in this order.
type nodeData struct {
	Name, ID, TunnelAddress, ServiceID string
	LastSeen                           time.Time
}

func (d nodeData) online() bool { return time.Since(d.LastSeen) < onlineFor }

// table is what a federated server knows of workers.
type table struct {
	mutex sync.Mutex
	known map[string]nodeData
	count map[string]int
}

func newTable() *table { return &table{known: map[string]nodeData{}, count: map[string]int{}} }

type shown struct {
	nodeData
	Online bool
}

func (t *table) nodes() []shown {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	all := []shown{}
	for _, data := range t.known {
		all = append(all, shown{data, data.online()})
	}
	return all
}

func (t *table) learn(data nodeData) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if data.online() {
		t.known[data.ID] = data
		if _, known := t.count[data.ID]; !known {
			t.count[data.ID] = 0
		}
	} else if !t.known[data.ID].online() {
		delete(t.known, data.ID)
		delete(t.count, data.ID)
	}
}

// pick chooses as LocalAI does: the least used of those online, where a count of nothing passes for none chosen yet.
func (t *table) pick(random bool) (nodeData, bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	var online []nodeData
	var chosen nodeData
	least := 0
	for id, data := range t.known {
		if !data.online() {
			continue
		}
		online = append(online, data)
		if used := t.count[id]; least == 0 || used < least {
			least, chosen = used, data
		}
	}
	if len(online) == 0 {
		return nodeData{}, false
	}
	if random || chosen.ID == "" {
		return online[rand.IntN(len(online))], true
	}
	return chosen, true
}

func (t *table) served(data nodeData) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.count[data.ID]++
}

func randomName() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	name := make([]byte, 10)
	for i := range name {
		name[i] = letters[rand.IntN(len(letters))]
	}
	return string(name)
}

// bucket is where LocalAI keeps the workers of a service.
func (p *foreign) bucket(service string) string {
	if p.wanted.networkID == "" {
		return service
	}
	return p.wanted.networkID + "_" + service
}

// announceWorker says again and again that the worker is there.
func (p *foreign) announceWorker(name string) node.NetworkService {
	return func(ctx context.Context, _ node.Config, _ *node.Node, ledger *blockchain.Ledger) error {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		ledger.Announce(ctx, p.wanted.nodeData, func() {
			data := nodeData{Name: name, ID: host + "-" + name, LastSeen: time.Now()}
			ledger.Add(p.bucket("federated"), map[string]any{name: data})
		})
		return nil
	}
}

// federate listens as LocalAI's federated server does.
func (p *foreign) federate(ctx context.Context, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	self := p.host.ID().String()
	p.ledger.Announce(ctx, 10*time.Second, func() {
		user := types.User{PeerID: self, Timestamp: time.Now().String()}
		p.ledger.Add(protocol.UsersLedgerKey, map[string]any{self: user})
	})
	go p.discover(ctx)
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				fail(fmt.Errorf("federated server: %w", err))
			}
			go p.handle(ctx, client)
		}
	}()
	return nil
}

func (p *foreign) discover(ctx context.Context) {
	for ctx.Err() == nil {
		for _, raw := range p.ledger.CurrentData()[p.bucket("federated")] {
			var data nodeData
			if raw.Unmarshal(&data) == nil {
				p.table.learn(data)
			}
		}
		time.Sleep(p.wanted.discoverer)
	}
}

// handle carries one connection, of however many requests, to one worker.
func (p *foreign) handle(ctx context.Context, client net.Conn) {
	defer client.Close()
	worker, found := p.table.pick(p.wanted.random)
	if !found {
		_, _ = io.WriteString(client, nobody)
		return
	}
	defer p.table.served(worker)
	raw, found := p.ledger.GetKey(protocol.ServicesLedgerKey, worker.Name)
	var service types.Service
	if !found || raw.Unmarshal(&service) != nil {
		return
	}
	id, err := peer.Decode(service.PeerID)
	if err != nil {
		return
	}
	stream, err := p.host.NewStream(ctx, id, protocol.ServiceProtocol.ID())
	if err != nil {
		return
	}
	ended := make(chan struct{}, 2)
	carry := func(to io.Writer, from io.Reader) {
		_, _ = io.Copy(to, from)
		ended <- struct{}{}
	}
	go carry(stream, client)
	go carry(client, stream)
	<-ended
	stream.Close()
}
