package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"time"
)

// mdnsVector is what a running node says by mDNS: each packet once, in order.
type mdnsVector struct {
	Name    string   `json:"name"`
	Peer    string   `json:"peer"`
	Listens []string `json:"listens"`
	Packets []string `json:"packets"`
}

// multicast listens beside a node that looks for others at an address. A node asks, probes for its own name and announces
// itself twice, within some seconds.
func multicast(address string) (*mdnsVector, error) {
	outside, err := interfaceOf(address)
	if err != nil {
		return nil, err
	}
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}
	socket, err := net.ListenMulticastUDP("udp4", outside, group)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	path, remove, err := nodeKey()
	if err != nil {
		return nil, err
	}
	defer remove()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	peer, err := start(ctx, wanted{
		token: fixed().Base64(), kind: "edgevpn", mdns: true, listen: list{"/ip4/" + address + "/tcp/0"}, keyFile: path,
		ownership: "off", sync: time.Minute, announce: time.Minute, alive: time.Minute, discovery: time.Minute, logLevel: "fatal",
	})
	if err != nil {
		return nil, err
	}
	defer peer.host.Close()
	vector := mdnsVector{Name: fixed().MDNS, Peer: peer.host.ID().String(), Listens: peer.addresses()}
	if err := socket.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	packet := make([]byte, 9000)
	for {
		length, err := socket.Read(packet)
		if errors.Is(err, net.ErrClosed) || isTimeout(err) {
			break
		}
		if err != nil {
			return nil, err
		}
		if text := hex.EncodeToString(packet[:length]); !seen[text] {
			seen[text] = true
			vector.Packets = append(vector.Packets, text)
		}
	}
	if len(vector.Packets) == 0 {
		return nil, fmt.Errorf("the node has said nothing on %s", outside.Name)
	}
	return &vector, nil
}

func isTimeout(err error) bool {
	var failure net.Error
	return errors.As(err, &failure) && failure.Timeout()
}

func interfaceOf(address string) (*net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		addresses, err := one.Addrs()
		if err != nil {
			return nil, err
		}
		for _, network := range addresses {
			if of, ok := network.(*net.IPNet); ok && of.IP.String() == address {
				return &one, nil
			}
		}
	}
	return nil, fmt.Errorf("no interface has the address %s", address)
}
