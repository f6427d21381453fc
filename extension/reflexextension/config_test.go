// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/policy"
	"github.com/otelcol-reflex/reflex/internal/webhook"
)

func TestDefaultConfigIsValidAndIsThePolicysDefault(t *testing.T) {
	c := createDefaultConfig().(*Config)
	require.NoError(t, c.Validate())
	require.NoError(t, componenttest.CheckConfigStruct(c))
	want := policy.DefaultConfig()
	want.Observe = true
	want.Enforced = policy.Resources(0).With(policy.Memory) // what has been proven from end to end
	assert.Equal(t, want, c.rules())
}

func TestConfigLoads(t *testing.T) {
	all, err := confmaptest.LoadConf("testdata/config.yaml")
	require.NoError(t, err)
	for name, check := range map[string]func(c *Config){
		"reflex": func(c *Config) { assert.Equal(t, createDefaultConfig(), c) },
		"reflex/everything": func(c *Config) {
			assert.Equal(t, modeEnforce, c.Mode)
			assert.Equal(t, guardEmbedded, c.Guard)
			assert.Equal(t, "127.0.0.1:13135", c.Status.Endpoint)
			assert.Equal(t, "/run/elsewhere/operator.sock", c.Operator.Socket)
			assert.Equal(t, []string{"/system.slice/database.service", "backup-*"}, c.Safelist)
			n, err := c.Network.guard()
			require.NoError(t, err)
			assert.Equal(t, guard.Network{
				Management: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
				Peers:      []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")},
				Allowed:    []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")},
				Quarantine: true, GenericXDP: true, Aggregate: 5000,
			}, n)
			r := c.rules()
			assert.False(t, r.Observe)
			assert.Equal(t, 30*time.Second, r.Horizon)
			assert.Equal(t, 45*time.Second, r.StartupGrace)
			assert.InDelta(t, 3, r.Margin, 0)
			assert.Equal(t, policy.LevelQuarantine, r.MaxLevel)
			assert.Equal(t, policy.Resources(0).With(policy.Memory).With(policy.CPU), r.Resources)
			assert.InDelta(t, 0.3, r.CPUStallBudget, 0)
			assert.InDelta(t, 0.4, r.IOStallBudget, 0)
			assert.InDelta(t, 500, r.DropBudget, 0)
			assert.InDelta(t, 30, r.RetransmitBudget, 0)
			assert.InDelta(t, 0.25, r.SoftIRQBudget, 0)
			assert.InDelta(t, 2000, r.MinPackets, 0)
			assert.Equal(t, 2*time.Second, r.Sustain)
			assert.Equal(t, 20*time.Second, r.NoProgress)
			assert.InDelta(t, 0.2, r.MaxShare, 0)
			assert.Equal(t, 5, r.ActionsPerMinute)
			assert.Equal(t, policy.EndingHold, r.Ending)
			assert.Equal(t, 10*time.Second, r.TTL)
			assert.Equal(t, 3*time.Second, r.Renew)
			require.Len(t, c.Webhooks, 2)
			assert.Equal(t, hooks("http://alertmanager:9093", nil)[0], c.Webhooks[0], "with its defaults")
			assert.Equal(t, WebhookConfig{
				URL: "https://hooks.example/reflex", Format: webhook.JSON, Secret: "quiet", Headers: map[string]configopaque.String{"Authorization": "Bearer b"},
				MinLevel: 1, Timeout: 5 * time.Second, CAFile: "/etc/ssl/ours.pem", AllowLinkLocal: true,
			}, c.Webhooks[1])
		},
	} {
		t.Run(name, func(t *testing.T) {
			sub, err := all.Sub(name)
			require.NoError(t, err)
			c := createDefaultConfig().(*Config)
			require.NoError(t, sub.Unmarshal(c))
			require.NoError(t, c.Validate())
			check(c)
		})
	}
}

func TestUnknownKeysAreRefused(t *testing.T) {
	c := createDefaultConfig()
	assert.ErrorContains(t, confmap.NewFromStringMap(map[string]any{"polcy": 1}).Unmarshal(c), "polcy")
}

// hooks is a list of one webhook, as a configuration gives it.
func hooks(url string, change func(*WebhookConfig)) []WebhookConfig {
	c := WebhookConfig{}
	if err := c.Unmarshal(confmap.NewFromStringMap(map[string]any{"url": url})); err != nil {
		panic(err)
	}
	if change != nil {
		change(&c)
	}
	return []WebhookConfig{c}
}

func TestBadConfigIsRefusedNamingTheKey(t *testing.T) {
	for _, tt := range []struct {
		key    string
		change func(c *Config)
	}{
		{"mode:", func(c *Config) { c.Mode = "kill" }},
		{"mode:", func(c *Config) { c.Mode = "" }},
		{"guard:", func(c *Config) { c.Guard = "guard.sock" }},
		{"guard:", func(c *Config) { c.Guard = "" }},
		{"guard:", func(c *Config) { c.Guard, c.Mode = guardNone, modeEnforce }},
		{"cgroup_root:", func(c *Config) { c.CgroupRoot = "sys/fs/cgroup" }},
		{"safelist[1]:", func(c *Config) { c.Safelist = []string{"ok", "[bad"} }},
		{"safelist[0]:", func(c *Config) { c.Safelist = []string{""} }},
		{"safelist[0]: pattern \"a/b\"", func(c *Config) { c.Safelist = []string{"a/b"} }},
		{"safelist[0]: pattern \"/a/\"", func(c *Config) { c.Safelist = []string{"/a/"} }},
		{"network: is for guard: embedded only", func(c *Config) { c.Network.AllowQuarantine = true }},
		{"network: is for guard: embedded only", func(c *Config) { c.Network.ShieldAggregate = 1 }},
		{"network::management[1]: ", func(c *Config) { c.Guard, c.Network.Management = guardEmbedded, []string{"10.0.0.0/8", "10.0.0.1"} }},
		{"network::peer[0]: 0.0.0.0/0 is everybody", func(c *Config) { c.Guard, c.Network.Peer = guardEmbedded, []string{"0.0.0.0/0"} }},
		{"network::allow[0]: ", func(c *Config) { c.Guard, c.Network.Allow = guardEmbedded, []string{"nobody"} }},
		{"network::allow[24]: more than 24 prefixes", func(c *Config) {
			c.Guard = guardEmbedded
			for i := range 25 {
				c.Network.Allow = append(c.Network.Allow, fmt.Sprintf("10.0.%d.0/24", i))
			}
		}},
		{"status::endpoint:", func(c *Config) { c.Status.Endpoint = "0.0.0.0:13134" }},
		{"status::endpoint:", func(c *Config) { c.Status.Endpoint = "127.0.0.1" }},
		{"status::endpoint:", func(c *Config) { c.Status.Endpoint = "127.0.0.1:" }},
		{"status::endpoint:", func(c *Config) { c.Status.Endpoint = ":13134" }},
		{"status::endpoint:", func(c *Config) { c.Status.Endpoint = "example.com:80" }},
		{"operator::socket:", func(c *Config) { c.Operator.Socket = "operator.sock" }},
		{"journal::capacity:", func(c *Config) { c.Journal.Capacity = 1 }},
		{"policy::horizon:", func(c *Config) { c.Policy.Horizon = 0 }},
		{"policy::stall_budget:", func(c *Config) { c.Policy.StallBudget = 10 }},
		{"policy::max_level:", func(c *Config) { c.Policy.MaxLevel = 0 }},
		{"policy::max_level:", func(c *Config) { c.Policy.MaxLevel = 6 }},
		{"policy::resources:", func(c *Config) { c.Policy.Resources = nil }},
		{"policy::enforce[1]:", func(c *Config) { c.Policy.Enforce = []string{"memory", "disk"} }},
		{"policy::enforce[0]:", func(c *Config) { c.Policy.Resources, c.Policy.Enforce = []string{"memory"}, []string{"cpu"} }},
		{"policy::resources[1]:", func(c *Config) { c.Policy.Resources = []string{"cpu", "disk"} }},
		{"policy::cpu_stall_budget:", func(c *Config) { c.Policy.CPUStallBudget = 0 }},
		{"policy::io_stall_budget:", func(c *Config) { c.Policy.IOStallBudget = 2 }},
		{"policy::drop_budget:", func(c *Config) { c.Policy.DropBudget = 0 }},
		{"policy::retransmit_budget:", func(c *Config) { c.Policy.RetransmitBudget = 0 }},
		{"policy::softirq_budget:", func(c *Config) { c.Policy.SoftIRQBudget = 0 }},
		{"policy::min_packets:", func(c *Config) { c.Policy.MinPackets = 0 }},
		{"policy::retransmit_budget:", func(c *Config) { c.Policy.RetransmitBudget = math.NaN() }},
		{"policy::sustain:", func(c *Config) { c.Policy.Sustain = 0 }},
		{"policy::no_progress:", func(c *Config) { c.Policy.NoProgress = 0 }},
		{"policy::max_share:", func(c *Config) { c.Policy.MaxShare = -1 }},
		{"policy::actions_per_minute:", func(c *Config) { c.Policy.ActionsPerMinute = 0 }},
		{"policy::startup_grace:", func(c *Config) { c.Policy.StartupGrace = -1 }},
		{"policy::margin:", func(c *Config) { c.Policy.Margin = 0.5 }},
		{"policy::buy_time:", func(c *Config) { c.Policy.BuyTime = 0 }},
		{"policy::growth_budget:", func(c *Config) { c.Policy.GrowthBudget = 0 }},
		{"policy::release_after:", func(c *Config) { c.Policy.ReleaseAfter = time.Second }},
		{"policy::ending:", func(c *Config) { c.Policy.Ending = "kill" }},
		{"policy::close_after:", func(c *Config) { c.Policy.CloseAfter = 0 }},
		{"policy::cool_off:", func(c *Config) { c.Policy.CoolOff = -1 }},
		{"policy::habituation:", func(c *Config) { c.Policy.Habituation = time.Second }},
		{"policy::max_leases:", func(c *Config) { c.Policy.MaxLeases = 0 }},
		{"policy::max_leases: must be 1 to 8", func(c *Config) { c.Policy.MaxLeases = 9 }},
		{"lease::ttl:", func(c *Config) { c.Lease.TTL = 500 * time.Millisecond }},
		{"lease::ttl:", func(c *Config) { c.Lease.TTL = 2 * time.Minute }},
		{"lease::renew:", func(c *Config) { c.Lease.Renew = c.Lease.TTL / 2 }},
		{"lease::renew:", func(c *Config) { c.Lease.Renew = 0 }},
		{"webhooks[0]::url: must begin with http", func(c *Config) { c.Webhooks = hooks("file:///etc/passwd", nil) }},
		{"webhooks[0]::url: 169.254.169.254", func(c *Config) { c.Webhooks = hooks("http://169.254.169.254/", nil) }},
		{"webhooks[0]::format:", func(c *Config) { c.Webhooks = hooks("http://x", func(w *WebhookConfig) { w.Format = "slack" }) }},
		{"webhooks[0]::secret:", func(c *Config) { c.Webhooks = hooks("http://x", func(w *WebhookConfig) { w.Secret = "s" }) }},
		{"webhooks[0]::headers:", func(c *Config) {
			c.Webhooks = hooks("http://x", func(w *WebhookConfig) { w.Headers = map[string]configopaque.String{"a b": ""} })
		}},
		{"webhooks[0]::headers:", func(c *Config) {
			c.Webhooks = hooks("http://x", func(w *WebhookConfig) { w.Headers = map[string]configopaque.String{"a": "b\r\nc: d"} })
		}},
		{"webhooks[0]::min_level:", func(c *Config) { c.Webhooks = hooks("http://x", func(w *WebhookConfig) { w.MinLevel = 0 }) }},
		{"webhooks[0]::timeout:", func(c *Config) { c.Webhooks = hooks("http://x", func(w *WebhookConfig) { w.Timeout = time.Hour }) }},
		{"webhooks[0]::retries:", func(c *Config) { c.Webhooks = hooks("http://x", func(w *WebhookConfig) { w.Retries = -1 }) }},
		{"webhooks[0]::ca_file:", func(c *Config) { c.Webhooks = hooks("http://x", func(w *WebhookConfig) { w.CAFile = "ca.pem" }) }},
		{"webhooks:", func(c *Config) { c.Webhooks = make([]WebhookConfig, 17) }},
	} {
		c := createDefaultConfig().(*Config)
		tt.change(c)
		assert.ErrorContains(t, c.Validate(), tt.key)
	}
}

func TestTheNodeHoldsAsManyTasksAsTheLesserLimitSays(t *testing.T) {
	proc := t.TempDir()
	assert.Zero(t, nodeTasks(proc))
	require.NoError(t, os.MkdirAll(filepath.Join(proc, "sys/kernel"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(proc, "sys/kernel/pid_max"), []byte("4194304\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(proc, "sys/kernel/threads-max"), []byte("31000\n"), 0o644))
	assert.Equal(t, uint64(31000), nodeTasks(proc))
}

func TestAsManyLeasesAsTheGuardHoldsAreAccepted(t *testing.T) {
	c := createDefaultConfig().(*Config)
	c.Policy.MaxLeases = guard.DefaultMaxLeases
	require.NoError(t, c.Validate())
}

func TestLoopbackAddressesAreAccepted(t *testing.T) {
	for _, endpoint := range []string{"", "127.0.0.1:0", "127.1.2.3:80", "[::1]:13134", "localhost:13134"} {
		assert.NoError(t, loopback(endpoint), endpoint)
	}
}
