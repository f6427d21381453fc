// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/reading"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadatatest"
)

var storageID = component.MustNewID("file_storage")

// remembered is a processor of queues whose judges are readers, with a storage.
type remembered struct {
	*mahalanobis
	t       *testing.T
	tel     *componenttest.Telemetry
	at      pcommon.Timestamp
	instant time.Time
	state   string // of new judges
	restore error
}

func remember(t *testing.T, extensions host, change func(*Config)) *remembered {
	t.Helper()
	cfg := queues(10)
	cfg.Storage, cfg.CheckpointInterval = &storageID, time.Hour
	if change != nil {
		change(cfg)
	}
	r := &remembered{t: t, tel: componenttest.NewTelemetry(), instant: time.Unix(1_700_000_000, 0), state: "new"}
	t.Cleanup(func() { require.NoError(t, r.tel.Shutdown(context.Background())) })
	set := metadatatest.NewSettings(r.tel)
	p, err := newProcessor(set, cfg)
	require.NoError(t, err)
	p.shared = (&factory{common: map[*Config]*shared{}}).share(cfg, set.ID)
	p.streams.now = func() time.Time { return r.instant }
	p.streams.judge = func(c detect.Config) judge { return &reader{dims: c.Dimensions, state: r.state, restore: r.restore} }
	require.NoError(t, p.start(context.Background(), extensions))
	r.mahalanobis = p
	return r
}

// see lets the processor see the named resources.
func (r *remembered) see(names ...string) {
	r.t.Helper()
	r.at++
	md := pmetric.NewMetrics()
	for _, name := range names {
		rm := md.ResourceMetrics().AppendEmpty()
		rm.Resource().Attributes().PutStr("name", name)
		put(rm.ScopeMetrics().AppendEmpty(), "queue.size", false, 1, r.at)
	}
	_, err := r.process(context.Background(), md)
	require.NoError(r.t, err)
}

// states are those of the judges.
func (r *remembered) states() (states []string) {
	for e := r.streams.byUse.Front(); e != nil; e = e.Next() {
		states = append(states, e.Value.(*stream).judge.(*reader).state)
	}
	return states
}

type counter func(*testing.T, *componenttest.Telemetry, []metricdata.DataPoint[int64], ...metricdatatest.Option)

func (r *remembered) counted(c counter, n int64) {
	r.t.Helper()
	c(r.t, r.tel, []metricdata.DataPoint[int64]{{Value: n}}, metricdatatest.IgnoreTimestamp())
}

func TestABaselineOutlivesARestart(t *testing.T) {
	m := newMemory()
	r := remember(t, host{storageID: m}, nil)
	r.see("a", "b")
	assert.Empty(t, m.keys(""), "nothing is written while metrics pass")
	for _, st := range r.streams.byResource {
		st.judge.(*reader).state = "learned"
	}
	require.NoError(t, r.shutdown(context.Background()))
	assert.Len(t, m.keys("baseline/"), 2)
	r.counted(metadatatest.AssertEqualProcessorMahalanobisCheckpointsSaved, 2)
	assert.Zero(t, m.open)

	r = remember(t, host{storageID: m}, nil)
	r.see("c", "b")
	assert.Equal(t, []string{"new", "learned"}, r.states())
	r.counted(metadatatest.AssertEqualProcessorMahalanobisCheckpointsRestored, 1)
	require.NoError(t, r.shutdown(context.Background()))
	assert.Len(t, m.keys("baseline/"), 3)
}

func TestOnlyWhatHasLearnedIsSavedAgain(t *testing.T) {
	m := newMemory()
	r := remember(t, host{storageID: m}, nil)
	r.see("a", "b")
	r.shared.save(context.Background(), false)
	r.counted(metadatatest.AssertEqualProcessorMahalanobisCheckpointsSaved, 2)
	writes := m.writes
	r.shared.save(context.Background(), false)
	assert.Equal(t, writes, m.writes)
	r.see("b")
	r.shared.save(context.Background(), false)
	r.counted(metadatatest.AssertEqualProcessorMahalanobisCheckpointsSaved, 3)
	require.NoError(t, r.shutdown(context.Background()))
}

func TestOtherDimensionsDoNotSeeTheCheckpoint(t *testing.T) {
	m := newMemory()
	r := remember(t, host{storageID: m}, nil)
	r.state = "queues"
	r.see("a")
	require.NoError(t, r.shutdown(context.Background()))
	for name, change := range map[string]func(*Config){
		"another scale": func(c *Config) { c.Dimensions[0].Scale = 7 },
		"one more": func(c *Config) {
			c.Dimensions = append(c.Dimensions, reading.Config{Metric: "x", Kind: reading.KindGauge})
		},
		"another preset": func(c *Config) { c.Preset = reading.HostMetrics },
	} {
		r = remember(t, host{storageID: m}, change)
		r.see("a")
		assert.Equal(t, []string{"new"}, r.states(), name)
		require.NoError(t, r.shutdown(context.Background()))
	}
	r = remember(t, host{storageID: m}, nil)
	r.see("a")
	assert.Equal(t, []string{"queues"}, r.states(), "and back")
	require.NoError(t, r.shutdown(context.Background()))
}

func TestACorruptCheckpointIsSetAside(t *testing.T) {
	m := newMemory()
	r := remember(t, host{storageID: m}, nil)
	r.state = "rotten"
	r.see("a", "b")
	require.NoError(t, r.shutdown(context.Background()))
	damaged := m.keys("baseline/")

	r = remember(t, host{storageID: m}, nil)
	r.restore = errors.Join(detect.ErrCheckpoint, errors.New("checksum"))
	r.see("a", "b")
	assert.Equal(t, []string{"new", "new"}, r.states())
	r.counted(metadatatest.AssertEqualProcessorMahalanobisCheckpointsSetAside, 2)
	require.NoError(t, r.shutdown(context.Background()))

	var aside []string
	for _, key := range m.keys("baseline/") {
		if strings.HasSuffix(key, asideSuffix) {
			aside = append(aside, key)
		} else {
			assert.Contains(t, damaged, key)
			assert.Equal(t, "new", string(m.data[key]))
		}
	}
	require.Len(t, aside, 1, "one is kept")
	assert.Equal(t, "rotten", string(m.data[aside[0]]))

	r = remember(t, host{storageID: m}, nil)
	r.state = "newer"
	r.see("a", "b")
	assert.Equal(t, []string{"new", "new"}, r.states(), "what was learned afterwards is good")
	require.NoError(t, r.shutdown(context.Background()))
}

func TestADamagedIndexForgetsEverything(t *testing.T) {
	m := newMemory()
	r := remember(t, host{storageID: m}, nil)
	r.see("a", "b")
	require.NoError(t, r.shutdown(context.Background()))
	m.data[indexKey] = []byte("{")
	r = remember(t, host{storageID: m}, nil)
	r.counted(metadatatest.AssertEqualProcessorMahalanobisCheckpointsSetAside, 1)
	assert.Empty(t, m.keys(""))
	require.NoError(t, r.shutdown(context.Background()))
}

func TestCheckpointsAreBoundedInAgeNumberAndSize(t *testing.T) {
	m := newMemory()
	r := remember(t, host{storageID: m}, func(c *Config) { c.MaxStreams, c.MaxStale = 3, time.Minute })
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		r.see(name)
		r.shared.save(context.Background(), false)
		r.instant = r.instant.Add(time.Minute)
	}
	assert.Len(t, m.keys("baseline/"), 4, "most streams and an engine")

	r.instant = r.instant.Add(checkpointAge)
	r.see("h")
	r.shared.save(context.Background(), false)
	assert.Len(t, m.keys("baseline/"), 1, "the others are too old")

	r.state = strings.Repeat("x", largestCheckpoint+1)
	r.see("i")
	r.shared.save(context.Background(), false)
	assert.Len(t, m.keys("baseline/"), 1)
	r.counted(metadatatest.AssertEqualProcessorMahalanobisCheckpointsFailed, 1)
	require.NoError(t, r.shutdown(context.Background()))
}

func TestAFailingStorageHarmsNobody(t *testing.T) {
	m := newMemory()
	r := remember(t, host{storageID: m}, nil)
	r.state = "learned"
	r.see("a")
	require.NoError(t, r.shutdown(context.Background()))

	r = remember(t, host{storageID: m}, nil)
	m.fails = errors.New("disk full")
	r.see("a", "b")
	assert.Equal(t, []string{"new", "new"}, r.states())
	r.shared.save(context.Background(), false)
	r.counted(metadatatest.AssertEqualProcessorMahalanobisCheckpointsFailed, 3)
	m.fails = nil
	r.see("a", "b")
	require.NoError(t, r.shutdown(context.Background()))
	r.counted(metadatatest.AssertEqualProcessorMahalanobisCheckpointsSaved, 2)

	m.fails = errors.New("gone")
	r = remember(t, host{storageID: m}, nil)
	assert.Zero(t, m.open, "given back")
	assert.Nil(t, r.shared.store, "and no reason not to start")
	r.see("a")
	assert.Equal(t, []string{"new"}, r.states())
	r.counted(metadatatest.AssertEqualProcessorMahalanobisCheckpointsFailed, 1)
	require.NoError(t, r.shutdown(context.Background()))

	m.open = 1 // so that it cannot be opened
	r = remember(t, host{storageID: m}, nil)
	r.counted(metadatatest.AssertEqualProcessorMahalanobisCheckpointsFailed, 1)
	require.NoError(t, r.shutdown(context.Background()))
}

// remembering is an engine that can be written down.
type remembering struct {
	reader
	judged int
}

func (e *remembering) Judge(s *arc.Sample, _ arc.Control, j *arc.Judgement) {
	e.judged++
	*j = arc.Judgement{Sequence: s.Sequence, Ready: true, Fresh: true}
}

func TestAStuckStorageDelaysNeitherTheArcNorThePipeline(t *testing.T) {
	m, meets := newMemory(), &meeting{}
	r := remember(t, host{storageID: m, reflexID: meets}, func(c *Config) { c.Preset, c.Dimensions = reading.Node, nil })
	e := &remembering{reader: reader{state: "learned"}}
	r.shared.registration.engine = e
	m.writing, m.release = make(chan struct{}), make(chan struct{})
	saved := make(chan struct{})
	go func() {
		defer close(saved)
		r.shared.save(context.Background(), false)
	}()
	<-m.writing // and stays there
	src := newTicks()
	for range 100 {
		meets.Observe(src.next(), new(arc.Judgement))
		_, err := r.process(context.Background(), src.metrics())
		require.NoError(t, err)
		elsewhere := src.metrics()
		elsewhere.ResourceMetrics().At(0).Resource().Attributes().PutInt("n", int64(src.sample.Sequence))
		elsewhere.ResourceMetrics().At(0).ScopeMetrics().At(0).Scope().Attributes().Clear()
		_, err = r.process(context.Background(), elsewhere)
		require.NoError(t, err)
	}
	assert.Equal(t, 100, e.judged)
	assert.Len(t, r.streams.byResource, 10, "each looked for its checkpoint")
	close(m.release)
	<-saved
	m.writing = nil
	require.NoError(t, r.shutdown(context.Background()))
	assert.Len(t, m.keys("engine/"), 1)
}

func TestATroubledEngineIsSavedOnlyAtTheEnd(t *testing.T) {
	r := &registration{engine: &remembering{reader: reader{state: "learned"}}}
	assert.NotEmpty(t, r.checkpoint(nil, false))
	r.troubled = true
	assert.Empty(t, r.checkpoint(nil, false))
	assert.NotEmpty(t, r.checkpoint(nil, true))
}

func TestStartFindsTheStorage(t *testing.T) {
	cfg := queues(1)
	cfg.Storage = &storageID
	for _, tt := range []struct {
		extensions host
		fails      string
	}{
		{host{}, `storage: no extension "file_storage"`},
		{host{storageID: &bystander{}}, `storage: extension "file_storage" is not a storage`},
	} {
		p, _ := created(t, cfg)
		require.ErrorContains(t, p.start(context.Background(), tt.extensions), tt.fails)
		require.NoError(t, p.shutdown(context.Background()))
	}
}

func TestOneConfigurationInTwoPipelinesHasOneStorage(t *testing.T) {
	m := newMemory()
	cfg := queues(10)
	cfg.Storage = &storageID
	a, f := created(t, cfg)
	b, _ := created(t, cfg)
	b.shared = f.share(cfg, a.shared.id)
	require.Same(t, a.shared, b.shared)
	for _, p := range []*mahalanobis{a, b} {
		p.streams.judge = func(c detect.Config) judge { return &reader{dims: c.Dimensions, state: "learned"} }
		require.NoError(t, p.start(context.Background(), host{storageID: m}))
	}
	md, become := crowd()
	for i, p := range []*mahalanobis{a, b} {
		become(int64(i))
		_, err := p.process(context.Background(), md)
		require.NoError(t, err)
		require.NoError(t, p.shutdown(context.Background()))
		assert.Len(t, m.keys("baseline/"), i+1)
	}
	assert.Zero(t, m.open)
	assert.Empty(t, f.common)
}

func TestCheckpointsAreSavedAtTheirInterval(t *testing.T) {
	m := newMemory()
	r := remember(t, host{storageID: m}, func(c *Config) { c.CheckpointInterval = time.Millisecond })
	r.see("a")
	require.Eventually(t, func() bool { return len(m.keys("baseline/")) == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, r.shutdown(context.Background()))
}

func TestABaselineOutlivesARestartInAFile(t *testing.T) {
	f := filestorage.NewFactory()
	directory := t.TempDir()
	extension := func() component.Component {
		cfg := f.CreateDefaultConfig().(*filestorage.Config)
		cfg.Directory = directory
		e, err := f.Create(context.Background(), extensiontest.NewNopSettings(f.Type()), cfg)
		require.NoError(t, err)
		require.NoError(t, e.Start(context.Background(), host{}))
		return e
	}
	e := extension()
	r := remember(t, host{storageID: e}, nil)
	r.state = "learned"
	r.see("a")
	require.NoError(t, r.shutdown(context.Background()))
	require.NoError(t, e.Shutdown(context.Background()))

	e = extension()
	r = remember(t, host{storageID: e}, nil)
	r.see("a")
	assert.Equal(t, []string{"learned"}, r.states())
	require.NoError(t, r.shutdown(context.Background()))
	require.NoError(t, e.Shutdown(context.Background()))
}

// A detector that was ready is ready at once after a restart.
func TestARealBaselineOutlivesARestart(t *testing.T) {
	for name, tc := range map[string]struct {
		extensions host
		more       []reading.Config
	}{
		"arc":      {extensions: host{reflexID: &meeting{}}},
		"more arc": {extensions: host{reflexID: &meeting{}}, more: []reading.Config{{Metric: "system.process.execs", Kind: reading.KindCounter}}},
		"streams":  {extensions: host{}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			tc.extensions[storageID] = m
			src := newTicks()
			scored := func(ticks int) (map[string]float64, *remembered) {
				r := remember(t, tc.extensions, func(c *Config) { c.Preset, c.Dimensions = reading.Node, tc.more })
				r.streams.judge = newJudge
				var md pmetric.Metrics
				for range ticks {
					src.next()
					if meets, ok := tc.extensions[reflexID].(*meeting); ok {
						meets.Observe(&src.sample, new(arc.Judgement))
					}
					md = src.metrics()
					_, err := r.process(context.Background(), md)
					require.NoError(t, err)
				}
				require.NoError(t, r.shutdown(context.Background()))
				return scoresOf(md), r
			}
			before, _ := scored(1000)
			require.Contains(t, before, "reflex.score")
			if name != "streams" {
				own, _ := scored(20)
				assert.Empty(t, own, "its own start is nothing to judge")
			}
			after, r := scored(50)
			require.Contains(t, after, "reflex.score")
			assert.Zero(t, after["reflex.score.anomalous"])
			assert.InDelta(t, before["reflex.score.confidence"], after["reflex.score.confidence"], 0.2)
			r.counted(metadatatest.AssertEqualProcessorMahalanobisCheckpointsRestored, 1)
			if name == "streams" {
				assert.Len(t, m.keys("baseline/"), 1)
				return
			}
			assert.Len(t, m.keys("engine/"), 1)
			src.leak = 5e9
			meets := tc.extensions[reflexID].(*meeting)
			r = remember(t, tc.extensions, func(c *Config) { c.Preset, c.Dimensions = reading.Node, tc.more })
			var j arc.Judgement
			for range 30 {
				meets.Observe(src.next(), &j)
				assert.False(t, j.Ready, "whatever it sees: its own start is not judged")
			}
			for range 10 {
				meets.Observe(src.next(), &j)
			}
			assert.True(t, j.Anomalous, "what was usual before all restarts still is")
			require.NoError(t, r.shutdown(context.Background()))
		})
	}
}

// What is copied under the lock of the arc fits into what was made ready outside
// it, also when the slow baseline has just got a memory of its own.
func TestTheCopyOfTheEngineDoesNotGrowUnderItsLock(t *testing.T) {
	meets := &meeting{}
	r := remember(t, host{storageID: newMemory(), reflexID: meets}, func(c *Config) {
		c.Preset, c.Dimensions, c.HalfLife, c.Warmup = reading.Node, nil, 10*time.Second, 5*time.Second
	})
	src := newTicks()
	for range 2 {
		room := r.shared.room()
		data := r.shared.registration.checkpoint(room, true)
		require.NotEmpty(t, data)
		assert.Equal(t, cap(room), cap(data))
		for range 6000 { // past 200 decisions for each of 26
			meets.Observe(src.next(), new(arc.Judgement))
		}
	}
	require.NoError(t, r.shutdown(context.Background()))
}
