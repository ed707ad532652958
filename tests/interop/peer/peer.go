package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ipfs/go-log"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/mudler/edgevpn/pkg/blockchain"
	"github.com/mudler/edgevpn/pkg/config"
	"github.com/mudler/edgevpn/pkg/logger"
	"github.com/mudler/edgevpn/pkg/node"
	"github.com/mudler/edgevpn/pkg/services"
)

// foreign is a running node of edgevpn's.
type foreign struct {
	wanted wanted
	node   *node.Node
	ledger *blockchain.Ledger
	host   host.Host
	table  *table
}

// start joins the network and returns once the node listens and its services run.
func start(ctx context.Context, w wanted) (*foreign, error) {
	settings := config.Config{
		NetworkToken:   w.token,
		ListenMaddrs:   w.listen,
		LowProfile:     w.kind == "edgevpn",
		FrameTimeout:   "15s",
		Libp2pLogLevel: "fatal",
		LogLevel:       w.logLevel,
		Ledger:         config.Ledger{AnnounceInterval: w.announce, SyncInterval: w.sync},
		Discovery:      config.Discovery{DHT: w.dht, MDNS: w.mdns, BootstrapPeers: w.bootstrap, Interval: w.discovery},
		// AutoRelay asks the DHT for candidates, and crashes where there is none.
		Connection: config.Connection{HolePunch: true, AutoRelay: w.dht, RelayService: config.RelayService{NetworkOnly: w.kind == "edgevpn"}},
		NAT:        config.NAT{Service: true, RateLimit: true, RateLimitGlobal: 100, RateLimitPeer: 100, RateLimitInterval: 10 * time.Second},
		Limit:      config.ResourceLimit{Enable: w.kind == "localai", MaxConns: 100},
	}
	if err := own(&settings, w.ownership); err != nil {
		return nil, err
	}
	if w.keyFile != "" {
		key, err := key(w.keyFile)
		if err != nil {
			return nil, err
		}
		settings.Privkey = key
	}
	level, err := log.LevelFromString(w.logLevel)
	if err != nil {
		return nil, err
	}
	lines := logger.New(level)
	options, _, err := settings.ToOpts(lines)
	if err != nil {
		return nil, err
	}
	options = append(options, services.Alive(w.alive, 30*w.alive, 15*time.Minute)...)
	peer := &foreign{wanted: w, table: newTable()}
	for _, text := range w.services {
		name, address, err := pair(text)
		if err != nil {
			return nil, err
		}
		options = append(options, services.RegisterService(lines, w.announce, name, address)...)
	}
	if w.worker != "" {
		name := randomName()
		options = append(options, services.RegisterService(lines, time.Minute, name, w.worker)...)
		options = append(options, node.WithNetworkService(peer.announceWorker(name)))
	}
	if peer.node, err = node.New(options...); err != nil {
		return nil, err
	}
	if err := peer.node.Start(ctx); err != nil {
		return nil, err
	}
	peer.host = peer.node.Host()
	if peer.ledger, err = peer.node.Ledger(); err != nil {
		return nil, err
	}
	return peer, peer.serve(ctx)
}

// serve starts what listens.
func (p *foreign) serve(ctx context.Context) error {
	for _, text := range p.wanted.connects {
		name, listen, err := pair(text)
		if err != nil {
			return err
		}
		connect := services.ConnectNetworkService(p.wanted.announce, name, listen)
		go func() {
			if err := connect(ctx, node.Config{}, p.node, p.ledger); err != nil {
				fail(fmt.Errorf("service-connect %s: %w", name, err))
			}
		}()
	}
	if p.wanted.federated != "" {
		return p.federate(ctx, p.wanted.federated)
	}
	return nil
}

// key reads a private key, or makes one.
func key(path string) ([]byte, error) {
	bytes, err := os.ReadFile(path)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return bytes, err
	}
	fresh, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, err
	}
	if bytes, err = crypto.MarshalPrivateKey(fresh); err != nil {
		return nil, err
	}
	return bytes, os.WriteFile(path, bytes, 0o600)
}
