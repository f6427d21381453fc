// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Environment is the class of places a node is at. It chooses what a quarantine of
// the node leaves open, and what has to be listed before there may be one.
type Environment string

// Environments. A guard that is told nothing takes a node for one of [Kubernetes] where
// it runs in a pod, and for one in a [Cloud] otherwise: the others cut off more, or take
// for granted that somebody gets in another way, which no file of a machine tells.
const (
	Cloud      Environment = "cloud"
	Kubernetes Environment = "kubernetes"
	RemoteEdge Environment = "edge-remote"
	BareMetal  Environment = "bare-metal"
	Edge       Environment = "edge"
	AirGapped  Environment = "air-gapped"
)

// environment is a row of the table.
type environment struct {
	name  Environment
	about string
	// essentials says that what a node must not be without passes (docs/safety.md), with
	// whom it is listed for. Otherwise only what is allowed does.
	essentials bool
	// needs says whether somebody is listed who gets in, and who could be; nil where
	// nobody has to be.
	needs func(n *Network) (listed bool, flags string)
}

// environments is the table. To add one is to add an entry here.
var environments = []environment{
	{Cloud, "a machine that is reached over its own network only", true, func(n *Network) (bool, string) {
		return len(n.Management)+len(n.Peers)+len(n.Allowed) > 0, "--management (SSH from there), --peer (kubelet and API server) or --allow"
	}},
	{Kubernetes, "a node of a cluster, which gives up on it without the API server and the kubelet", true, func(n *Network) (bool, string) {
		return len(n.Peers)+len(n.Allowed) > 0, "--peer (API server and kubelet) or --allow"
	}},
	{RemoteEdge, "a machine that nobody can go to", true, func(n *Network) (bool, string) {
		return len(n.Management)+len(n.Allowed) > 0, "--management (SSH from there) or --allow"
	}},
	{BareMetal, "a machine with a BMC, by which operators get in", false, nil},
	{Edge, "a machine that somebody can go to", false, nil},
	{AirGapped, "a machine of a network that leads nowhere: it asks nobody for anything", false, nil},
}

// Environments lists them, for flags.
func Environments() string {
	var names []string
	for _, e := range environments {
		names = append(names, string(e.name))
	}
	return strings.Join(names, ", ")
}

// ParseEnvironment takes one by its name, "" for the one that is recognised.
func ParseEnvironment(name string) (Environment, error) {
	if name == "" {
		return recognise(os.Getenv), nil
	}
	for _, e := range environments {
		if string(e.name) == name {
			return e.name, nil
		}
	}
	return "", fmt.Errorf("environment %q is none of %s", name, Environments())
}

// recognise tells a pod by what the kubelet gives it.
func recognise(getenv func(string) string) Environment {
	if getenv("KUBERNETES_SERVICE_HOST") != "" {
		return Kubernetes
	}
	return Cloud
}

// Essentials says that a quarantine of a node there leaves what the node must not be
// without, and not only what is allowed.
func (e Environment) Essentials() bool { return e.row().essentials }

// row is that of the table; what is none of it is taken for a [Cloud].
func (e Environment) row() *environment {
	at := slices.IndexFunc(environments, func(o environment) bool { return o.name == e })
	return &environments[max(at, 0)]
}
