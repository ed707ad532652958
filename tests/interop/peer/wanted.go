package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// wanted is what a peer is told to be.
type wanted struct {
	token      string
	kind       string
	mdns, dht  bool
	bootstrap  list
	listen     list
	keyFile    string
	ownership  string
	services   list
	connects   list
	worker     string
	federated  string
	networkID  string
	random     bool
	sync       time.Duration
	announce   time.Duration
	alive      time.Duration
	discovery  time.Duration
	nodeData   time.Duration
	discoverer time.Duration
	logLevel   string
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// pair splits NAME=VALUE.
func pair(text string) (string, string, error) {
	name, value, found := strings.Cut(text, "=")
	if !found || name == "" || value == "" {
		return "", "", fmt.Errorf("%q is not NAME=ADDRESS", text)
	}
	return name, value, nil
}

func parse(args []string) (wanted, error) {
	w := wanted{token: os.Getenv("EDGEVPNTOKEN")}
	flags := flag.NewFlagSet("foreign-peer", flag.ContinueOnError)
	flags.StringVar(&w.kind, "as", "edgevpn", "edgevpn or localai")
	flags.BoolVar(&w.mdns, "mdns", false, "look for others by mDNS")
	flags.BoolVar(&w.dht, "dht", false, "look for others in the DHT of the bootstrap peers")
	flags.Var(&w.bootstrap, "bootstrap", "a bootstrap peer (multiaddr), repeatable")
	flags.Var(&w.listen, "listen", "where to listen (multiaddr), repeatable")
	flags.StringVar(&w.keyFile, "key", "", "a file with the private key, made where there is none")
	flags.StringVar(&w.ownership, "ownership", "off", "off, observe or enforce")
	flags.Var(&w.services, "service", "expose NAME=ADDRESS, as `edgevpn service-add` does")
	flags.Var(&w.connects, "connect", "serve NAME=LISTEN, as `edgevpn service-connect` does, repeatable")
	flags.StringVar(&w.worker, "worker", "", "expose ADDRESS as an instance of LocalAI's federation")
	flags.StringVar(&w.federated, "federated", "", "LISTEN as LocalAI's federated server does")
	flags.StringVar(&w.networkID, "network-id", "", "LocalAI's id of the network")
	flags.BoolVar(&w.random, "random", false, "the federated server picks at random")
	flags.DurationVar(&w.sync, "sync-interval", 10*time.Second, "between blocks")
	flags.DurationVar(&w.announce, "announce-interval", 10*time.Second, "between looks at own entries")
	flags.DurationVar(&w.alive, "alive-interval", 30*time.Second, "between heartbeats")
	flags.DurationVar(&w.discovery, "dht-interval", 10*time.Second, "between looks into the DHT at most")
	flags.DurationVar(&w.nodeData, "nodedata-interval", 20*time.Second, "between signs of life of a worker of LocalAI's")
	flags.DurationVar(&w.discoverer, "discover-interval", 5*time.Second, "between looks of the federated server at the ledger")
	flags.StringVar(&w.logLevel, "log-level", "error", "of edgevpn's own log")
	if err := flags.Parse(args); err != nil {
		return w, err
	}
	if w.token == "" {
		return w, fmt.Errorf("no token: set EDGEVPNTOKEN")
	}
	if len(w.services)+len(w.worker) > 0 && len(w.services) > 0 && w.worker != "" || len(w.services) > 1 {
		return w, fmt.Errorf("a node of edgevpn's exposes one service: the last one registered takes all streams")
	}
	return w, nil
}
