// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"math"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatautil"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
)

// stream is the baseline of one resource and what the present batch says of it.
type stream struct {
	detector *detect.Detector
	total    []float64 // running totals of delta sums
	used     time.Time

	raw      []float64
	found    []bool
	any      bool
	newest   int64
	resource int // the last one in the batch that belongs to the stream
}

// streams holds a bounded number of them, by the hash of resource attributes.
type streams struct {
	config     *Config
	now        func() time.Time
	vocabulary *vocabulary
	byResource map[[16]byte]*stream
	batch      []*stream // those that the present batch has read
	instant    time.Time
	swept      time.Time
	opened     int
	dropped    int
}

func newStreams(config *Config, now func() time.Time) *streams {
	return &streams{config: config, now: now, vocabulary: newVocabulary(config), byResource: map[[16]byte]*stream{}}
}

// begin begins a batch.
func (s *streams) begin() {
	s.instant, s.opened, s.dropped = s.now(), 0, 0
	clear(s.batch)
	s.batch = s.batch[:0]
}

// read takes in the metrics of one resource of the batch. One resource may come
// in several pieces, as each scraper of a receiver writes its own.
func (s *streams) read(index int, rm pmetric.ResourceMetrics) {
	var st *stream
	for i := range rm.ScopeMetrics().Len() {
		metrics := rm.ScopeMetrics().At(i).Metrics()
		for k := range metrics.Len() {
			m := metrics.At(k)
			if len(s.vocabulary.byMetric[m.Name()]) == 0 {
				continue
			}
			if st == nil {
				if st = s.open(rm.Resource()); st == nil {
					return
				}
				st.resource = index
			}
			st.newest = max(st.newest, s.vocabulary.read(m, st.raw, st.total, st.found))
		}
	}
}

// open returns the stream of a resource, ready for the present batch, or nil if
// there are too many.
func (s *streams) open(resource pcommon.Resource) *stream {
	key := pdatautil.MapHash(resource.Attributes())
	st, ok := s.byResource[key]
	if !ok {
		if len(s.byResource) >= s.config.MaxStreams || s.instant.Sub(s.swept) >= s.config.MaxStale {
			s.evict()
		}
		if len(s.byResource) >= s.config.MaxStreams {
			s.dropped++
			return nil
		}
		n := len(s.vocabulary.dims)
		st = &stream{
			detector: detect.New(s.config.detection(s.vocabulary.dims)),
			total:    make([]float64, n), raw: make([]float64, n), found: make([]bool, n),
		}
		s.byResource[key] = st
		s.opened++
	}
	if !st.any {
		st.any = true
		for j := range st.raw {
			st.raw[j], st.found[j] = math.NaN(), false
		}
		st.newest = 0
		s.batch = append(s.batch, st)
	}
	st.used = s.instant
	return st
}

// evict gives up the streams that nothing has been heard of for max_stale.
func (s *streams) evict() {
	s.swept = s.instant
	for key, st := range s.byResource {
		if s.instant.Sub(st.used) >= s.config.MaxStale {
			delete(s.byResource, key)
			s.opened--
		}
	}
}

// judge judges the streams of the batch one after the other into j and calls
// judged for each with the resource that its score belongs to. It returns how
// many streams were opened less those given up, and how many resources had none.
func (s *streams) judge(c arc.Control, j *arc.Judgement, judged func(resource int, at pcommon.Timestamp)) (opened, dropped int) {
	for _, st := range s.batch {
		st.any = false
		if st.newest == 0 {
			continue
		}
		st.detector.Step(detect.Instant{Due: st.newest, Taken: st.newest, Wall: st.newest}, st.raw, c, j)
		if j.Fresh {
			judged(st.resource, pcommon.Timestamp(st.newest))
		}
	}
	return s.opened, s.dropped
}

// clear gives up all streams and returns how many there were.
func (s *streams) clear() int {
	n := len(s.byResource)
	clear(s.byResource)
	return n
}
