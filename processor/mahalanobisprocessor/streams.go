// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"container/list"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/reading"
)

// stream is the baseline of one resource.
type stream struct {
	judge    judge
	key      reading.Key
	reading  *reading.Stream
	used     time.Time
	element  *list.Element
	learned  bool // since the last checkpoint
	reported bool // that its limit is an extrapolation
}

// streams holds a bounded number of them.
type streams struct {
	config     *Config
	now        func() time.Time
	judge      func(detect.Config) judge
	vocabulary *reading.Vocabulary
	reader     *reading.Reader

	// judged is called for every fresh judgement with the index of the resource
	// in the batch that the score belongs to.
	judged func(st *stream, resource int, j *arc.Judgement, at pcommon.Timestamp)
	// born is called for every new stream.
	born func(st *stream)

	byResource map[reading.Key]*stream
	byUse      *list.List // of *stream, longest unused first

	// The present batch.
	instant         time.Time
	control         arc.Control
	judgement       arc.Judgement
	opened, dropped int
}

func newStreams(config *Config, now func() time.Time) (*streams, error) {
	vocabulary, err := reading.New(config.Preset, config.Dimensions)
	if err != nil {
		return nil, err
	}
	s := &streams{
		config: config, now: now, judge: newJudge, vocabulary: vocabulary,
		judged:     func(*stream, int, *arc.Judgement, pcommon.Timestamp) {},
		born:       func(*stream) {},
		byResource: map[reading.Key]*stream{}, byUse: list.New(),
	}
	s.reader = reading.NewReader(vocabulary, s.open, s.step)
	return s, nil
}

// begin begins a batch under the policy's word c.
func (s *streams) begin(c arc.Control) {
	s.instant, s.control, s.opened, s.dropped = s.now(), c, 0, 0
	s.evict()
}

// end ends a batch. It returns how many streams were opened less those given up,
// how many pieces of resources had none, and how many measurements came late.
func (s *streams) end() (opened, dropped, late int) {
	late = s.reader.End()
	return s.opened, s.dropped, late
}

// open returns what is remembered of a resource, or nil if there are too many.
// It is called for every piece of every resource, so that to refuse costs a look
// into the map and nothing else.
func (s *streams) open(key reading.Key, _ pcommon.Resource) *reading.Stream {
	st, ok := s.byResource[key]
	if !ok {
		if len(s.byResource) >= s.config.MaxStreams {
			s.dropped++
			return nil
		}
		st = &stream{judge: s.judge(s.config.detection(s.vocabulary.Dimensions())), key: key, reading: s.vocabulary.NewStream()}
		st.reading.Owner = st
		st.element = s.byUse.PushBack(st)
		s.byResource[key] = st
		s.opened++
		s.born(st)
	}
	if st.used != s.instant {
		st.used = s.instant
		s.byUse.MoveToBack(st.element)
	}
	return st.reading
}

// step judges one vector.
func (s *streams) step(v reading.Vector) {
	st := v.Stream.Owner.(*stream)
	j := &s.judgement
	st.judge.Step(detect.Instant{Due: v.At, Taken: v.At, Wall: v.At}, v.Raw, s.control, j)
	st.learned = true
	if j.Fresh {
		s.judged(st, v.Resource, j, pcommon.Timestamp(v.At))
	}
}

// evict gives up the streams that nothing has been heard of for max_stale.
func (s *streams) evict() {
	for e := s.byUse.Front(); e != nil; e = s.byUse.Front() {
		st := e.Value.(*stream)
		if s.instant.Sub(st.used) < s.config.MaxStale {
			return
		}
		s.byUse.Remove(e)
		delete(s.byResource, st.key)
		s.opened--
	}
}

// clear gives up all streams and returns how many there were.
func (s *streams) clear() int {
	n := len(s.byResource)
	clear(s.byResource)
	s.byUse.Init()
	return n
}
