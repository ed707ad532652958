//go:build ownership

package main

import (
	"github.com/mudler/edgevpn/pkg/blockchain"
	"github.com/mudler/edgevpn/pkg/config"
)

const edgevpnVersion = "v0.35.3"

func own(settings *config.Config, mode string) error {
	settings.Ownership = config.Ownership{Mode: mode}
	return nil
}

// value is the text of an entry, and whether its owner has signed it.
func value(entry blockchain.SignedData) (string, bool) {
	return string(entry.Value), len(entry.Sig) > 0
}
