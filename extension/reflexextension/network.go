// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"fmt"
	"net/netip"
	"reflect"

	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

// NetworkConfig is what an embedded guard is told of the network that it acts on;
// reflexguard has flags of the same names. Nothing of it comes from orders.
type NetworkConfig struct {
	// AllowQuarantine permits that a cgroup is cut off from the network.
	AllowQuarantine bool `mapstructure:"allow_quarantine"`
	// Management holds prefixes from where operators log in, Peer prefixes of what
	// the node works with: both are spared by a shield.
	Management []string `mapstructure:"management"`
	Peer       []string `mapstructure:"peer"`
	// Allow holds prefixes that every cgroup may talk to, throttled or in quarantine.
	Allow []string `mapstructure:"allow"`
	// ShieldAggregate is the packets a second that pass a shield from all sources
	// together, besides what is spared.
	ShieldAggregate uint64 `mapstructure:"shield_aggregate"`
	// GenericXDP runs a shield where drivers have no XDP of their own.
	GenericXDP bool `mapstructure:"generic_xdp"`
}

func defaultNetwork() NetworkConfig { return NetworkConfig{ShieldAggregate: guard.DefaultAggregate} }

// guard turns the configuration into the guard's. Its error names the key.
func (c *NetworkConfig) guard() (guard.Network, error) {
	n := guard.Network{Quarantine: c.AllowQuarantine, GenericXDP: c.GenericXDP, Aggregate: c.ShieldAggregate}
	for _, list := range []struct {
		key  string
		text []string
		into *[]netip.Prefix
	}{{"management", c.Management, &n.Management}, {"peer", c.Peer, &n.Peers}, {"allow", c.Allow, &n.Allowed}} {
		for i, text := range list.text {
			prefix, err := guard.ParsePrefix(text)
			if err != nil {
				return n, fmt.Errorf("network::%s[%d]: %w", list.key, i, err)
			}
			*list.into = append(*list.into, prefix)
		}
	}
	if err := n.Validate(); err != nil {
		return n, fmt.Errorf("network::%w", err)
	}
	return n, nil
}

// validateNetwork refuses what the guard would refuse, and what nobody would obey.
func (c *Config) validateNetwork() error {
	if c.Guard != guardEmbedded && !reflect.DeepEqual(c.Network, defaultNetwork()) {
		return fmt.Errorf("network: is for guard: %s only; reflexguard is told by flags of the same names", guardEmbedded)
	}
	_, err := c.Network.guard()
	return err
}

// overNetwork says that the policy may order actions on the network.
func (c *Config) overNetwork() bool {
	return c.Policy.MaxLevel >= policy.LevelIsolation && resources(c.Policy.Resources).Has(policy.Network)
}
