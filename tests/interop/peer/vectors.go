package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
)

// vectors is everything that a node of edgevpn's encodes, with what it was made of, for tests of other programs: they are to
// make and read the same bytes. Bytes are in lower-case hex; what is JSON or YAML itself is a string that holds it as
// edgevpn wrote it.
type vectors struct {
	Edgevpn   string          `json:"edgevpn"`
	Keys      []keyVector     `json:"keys"`
	Tokens    []tokenVector   `json:"tokens"`
	OneTime   []oneTimeVector `json:"one_time"`
	Sealed    []sealedVector  `json:"sealed"`
	Envelopes []envelope      `json:"envelopes"`
	Genesis   genesisVector   `json:"genesis"`
	Blocks    []blockVector   `json:"blocks"`
	Values    []valueVector   `json:"values"`
	Entries   []entryVector   `json:"entries"`
	Rules     []ruleVector    `json:"rules"`
	Merges    []mergeVector   `json:"merges"`
	Adoptions []adoption      `json:"adoptions"`
	Wire      []wireVector    `json:"wire"`
	Mdns      *mdnsVector     `json:"mdns"`
}

// printVectors writes them to standard output.
func printVectors(args []string) error {
	flags := flag.NewFlagSet("foreign-peer vectors", flag.ContinueOnError)
	address := flags.String("mdns", "", "an IPv4 `ADDRESS` of an interface with multicast: what a node says there by mDNS is taken too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	v := vectors{Edgevpn: edgevpnVersion, Envelopes: envelopes(), Values: values()}
	for _, make := range []func(*vectors) error{
		func(v *vectors) (err error) { v.Keys, err = keys(); return },
		func(v *vectors) (err error) { v.Tokens, err = tokens(); return },
		func(v *vectors) error { v.Sealed = sealed(v.Tokens); return nil },
		func(v *vectors) (err error) { v.OneTime, err = oneTime(); return },
		func(v *vectors) (err error) { v.Genesis, v.Blocks, err = blocks(); return },
		signed,
		func(v *vectors) (err error) { v.Adoptions, err = adoptions(v.Blocks); return },
		wire,
		func(v *vectors) (err error) {
			if *address != "" {
				v.Mdns, err = multicast(*address)
			}
			return
		},
	} {
		if err := make(&v); err != nil {
			return err
		}
	}
	return write(os.Stdout, v)
}

// write puts each vector on a line of its own, which shows what differs between two versions.
func write(out io.Writer, v vectors) error {
	fields := reflect.ValueOf(v)
	for n := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Type().Field(n).Tag.Get("json"), ",")
		before := ",\n"
		if n == 0 {
			before = "{\n"
		}
		value := fields.Field(n)
		if value.Kind() != reflect.Slice {
			if _, err := fmt.Fprintf(out, "%s  %q: %s", before, name, line(value.Interface())); err != nil {
				return err
			}
			continue
		}
		var lines []string
		for n := range value.Len() {
			lines = append(lines, "\n    "+line(value.Index(n).Interface()))
		}
		if _, err := fmt.Fprintf(out, "%s  %q: [%s\n  ]", before, name, strings.Join(lines, ",")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(out, "\n}\n")
	return err
}

func line(value any) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		fail(err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}
