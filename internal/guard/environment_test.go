// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestTheEnvironmentSaysWhoHasToGetIn(t *testing.T) {
	some := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	lists := map[string]Network{"nobody": {}, "management": {Management: some}, "peer": {Peers: some}, "allow": {Allowed: some}}
	for place, enough := range map[Environment]string{
		"":         "management peer allow",
		Cloud:      "management peer allow",
		Kubernetes: "peer allow",
		RemoteEdge: "management allow",
		BareMetal:  "nobody management peer allow",
		Edge:       "nobody management peer allow",
		AirGapped:  "nobody management peer allow",
	} {
		for who, listed := range lists {
			n := newNetwork(t)
			n.change = func(c *Config) { c.Network = listed; c.Network.Quarantine, c.Network.Environment = true, place }
			g := n.guard(t)
			out := operate(t, g, ofNode())
			if strings.Contains(enough, who) {
				assert.Equal(t, arc.VerdictGranted, out.Verdict, "%s, %s: %s", place, who, out.Cause)
				continue
			}
			assert.Equal(t, arc.VerdictRefused, out.Verdict, "%s, %s", place, who)
			assert.Contains(t, out.Cause, "in the environment "+string(g.Status().Listed.Environment))
			o := ofNode()
			o.NoWayIn = true
			assert.Equal(t, arc.VerdictGranted, operate(t, g, o).Verdict, "%s, %s: said in so many words", place, who)
		}
	}
}

func TestAnEnvironmentIsNamedOrRecognised(t *testing.T) {
	for _, e := range environments {
		place, err := ParseEnvironment(string(e.name))
		require.NoError(t, err)
		assert.Equal(t, e.name, place)
		assert.NotEmpty(t, e.about)
	}
	_, err := ParseEnvironment("moon")
	require.ErrorContains(t, err, "none of "+Environments())
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	place, err := ParseEnvironment("")
	require.NoError(t, err)
	assert.Equal(t, Cloud, place)
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
	place, err = ParseEnvironment("")
	require.NoError(t, err)
	assert.Equal(t, Kubernetes, place)
}
