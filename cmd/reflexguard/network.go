// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/guard"
)

// networkOptions are the flags about the network.
type networkOptions struct {
	management, peers, allowed prefixes
	quarantine, genericXDP     bool
	aggregate                  uint64
	place                      environment
}

func (o *networkOptions) config() guard.Network {
	if o.place == "" {
		_ = o.place.Set("") // what is recognised is always one
	}
	return guard.Network{
		Management: o.management, Peers: o.peers, Allowed: o.allowed,
		Quarantine: o.quarantine, Environment: guard.Environment(o.place), GenericXDP: o.genericXDP, Aggregate: o.aggregate,
	}
}

func (o *networkOptions) flags(c *cobra.Command) {
	flags := c.PersistentFlags()
	flags.Var(&o.management, "management", "prefix from where operators log in, spared by a shield and by a quarantine of the node; may be repeated")
	flags.Var(&o.peers, "peer", "prefix of what the node works with (cluster, storage, resolvers, where telemetry goes), spared by a shield and by a quarantine of the node; may be repeated")
	flags.Var(&o.allowed, "allow", "prefix that every cgroup, and the node, may talk to, throttled or in quarantine; may be repeated")
	flags.BoolVar(&o.quarantine, "allow-quarantine", false, "permit that a cgroup is cut off from the network, and, to operators, the node")
	flags.Var(&o.place, "environment", "where the node is, which chooses what a quarantine of the node leaves open: "+guard.Environments()+" (default: kubernetes in a pod, else cloud)")
	flags.BoolVar(&o.genericXDP, "generic-xdp", false, "run a shield by generic XDP, where drivers have none of their own")
	flags.Uint64Var(&o.aggregate, "shield-aggregate", guard.DefaultAggregate, "packets a second that pass a shield from all sources together, besides what is spared")
}

// args are the flags as a child is given them.
func (o *networkOptions) args() []string {
	var args []string
	for name, list := range map[string]prefixes{"management": o.management, "peer": o.peers, "allow": o.allowed} {
		for _, p := range list {
			args = append(args, "--"+name+"="+p.String())
		}
	}
	if o.place != "" {
		args = append(args, "--environment="+string(o.place))
	}
	return append(args,
		"--allow-quarantine="+strconv.FormatBool(o.quarantine), "--generic-xdp="+strconv.FormatBool(o.genericXDP),
		"--shield-aggregate="+strconv.FormatUint(o.aggregate, 10))
}

// environment is a flag.
type environment guard.Environment

// String implements pflag.Value.
func (e *environment) String() string { return string(*e) }

// Set implements pflag.Value.
func (e *environment) Set(name string) error {
	place, err := guard.ParseEnvironment(name)
	*e = environment(place)
	return err
}

// Type implements pflag.Value.
func (*environment) Type() string { return "name" }

// prefixes is a flag that may be repeated.
type prefixes []netip.Prefix

// String implements pflag.Value.
func (p *prefixes) String() string {
	all := make([]string, len(*p))
	for i, prefix := range *p {
		all[i] = prefix.String()
	}
	return strings.Join(all, ",")
}

// Set implements pflag.Value.
func (p *prefixes) Set(text string) error {
	prefix, err := guard.ParsePrefix(text)
	if err != nil {
		return err
	}
	*p = append(*p, prefix)
	return nil
}

// Type implements pflag.Value.
func (*prefixes) Type() string { return "prefix" }
