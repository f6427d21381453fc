// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/receiver/reflexreceiver/internal/metadata"
)

func TestConfigIsReadAndBadOnesAreRefusedByKey(t *testing.T) {
	named := component.MustNewIDWithName("reflex", "main")
	for _, c := range []struct {
		name string
		want *Config
		err  string
	}{
		{"reflex", &Config{MetricsInterval: 10 * time.Second, ReplayRate: 500, RefusalPatience: time.Hour}, ""},
		{"reflex/all", &Config{Reflex: &named, MetricsInterval: time.Second, ReplayRate: 50, RefusalPatience: time.Minute}, ""},
		{"reflex/fast", nil, "metrics_interval must be at least 100ms, not 1ms"},
		{"reflex/zero", nil, "metrics_interval must be at least 100ms, not 0s"},
		{"reflex/still", nil, "replay_rate must be 1 to 1000000 records a second, not 0"},
		{"reflex/impatient", nil, "refusal_patience must not be negative, is -1s"},
		{"reflex/unknown", nil, "colour"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
			require.NoError(t, err)
			sub, err := all.Sub(c.name)
			require.NoError(t, err)
			cfg := NewFactory().CreateDefaultConfig()
			err = sub.Unmarshal(cfg)
			if err == nil {
				err = confmap.Validate(cfg)
			}
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			c.want.MetricsBuilderConfig = metadata.NewDefaultMetricsBuilderConfig()
			assert.Equal(t, c.want, cfg)
		})
	}
}

func TestTheJournalIsFoundAmongTheExtensions(t *testing.T) {
	one, two := episode.NewJournal(1), episode.NewJournal(1)
	id := component.MustNewIDWithName
	hosts := map[string]testHost{
		"none": {id("health_check", ""): idle{}},
		"one":  {id("health_check", ""): idle{}, id("reflex", ""): keeper{journal: one}},
		"two":  {id("reflex", "a"): keeper{journal: one}, id("reflex", "b"): keeper{journal: two}},
	}
	ref := func(i component.ID) *component.ID { return &i }
	for _, c := range []struct {
		name, host string
		wanted     *component.ID
		want       *episode.Journal
		err        string
	}{
		{"the only one", "one", nil, one, ""},
		{"none there", "none", nil, nil, "reflex: no extension keeps a journal"},
		{"several there", "two", nil, nil, "reflex: several extensions keep a journal"},
		{"one of several by name", "two", ref(id("reflex", "b")), two, ""},
		{"a name that is absent", "one", ref(id("reflex", "b")), nil, `reflex: extension "reflex/b" is not among service::extensions`},
		{"a name of something else", "one", ref(id("health_check", "")), nil, `reflex: extension "health_check" keeps no journal`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := findJournal(hosts[c.host], c.wanted)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			assert.Same(t, c.want, got.Journal())

			r := newTestReceiver(t)
			r.config.Reflex = c.wanted
			require.NoError(t, r.Start(t.Context(), hosts[c.host]))
			require.NoError(t, r.Shutdown(t.Context()))
		})
	}
}

func TestAFailedStartCanBeShutDown(t *testing.T) {
	r := newTestReceiver(t)
	require.ErrorContains(t, r.Start(t.Context(), testHost{}), "reflex")
	require.ErrorContains(t, r.Start(t.Context(), testHost{}), "reflex", "every pipeline is told")
	require.NoError(t, r.Shutdown(t.Context()))
}
