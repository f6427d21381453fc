// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatautil"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Key identifies a resource: a hash of its attributes.
type Key [16]byte

// Vector is what one measurement says of one resource.
type Vector struct {
	Stream *Stream
	// At is the newest timestamp of its data points, ns since the Unix epoch.
	At int64
	// Raw has one value a dimension, NaN where missing: a level, or a running
	// total for the kind counter. It is valid until the stream's next vector.
	Raw []float64
	// Resource is the index in the batch of the last resource that it was read
	// from.
	Resource int
}

// Reader finds the resources of a batch and reads their vectors. One resource
// may come in several pieces, as each scraper of a receiver writes its own, and
// more than once, when somebody has put several scrapes in one batch. It is not
// safe for concurrent use.
type Reader struct {
	vocabulary *Vocabulary
	open       func(Key, pcommon.Resource) *Stream
	yield      func(Vector)
	batch      []*Stream
	late       int
}

// NewReader returns a reader. It calls open for every piece of a resource that
// has a metric of the vocabulary, and does not read the piece when open returns
// nil; it calls yield for every vector, in the order of measurement for each
// stream.
func NewReader(v *Vocabulary, open func(Key, pcommon.Resource) *Stream, yield func(Vector)) *Reader {
	return &Reader{vocabulary: v, open: open, yield: yield}
}

// ReadAll reads a batch from beginning to end and returns how many measurements
// of it were dropped because they came late.
func (r *Reader) ReadAll(md pmetric.Metrics) (late int) {
	for i := range md.ResourceMetrics().Len() {
		r.Read(i, md.ResourceMetrics().At(i))
	}
	return r.End()
}

// Read reads the piece of a resource at index of the batch, if the vocabulary
// admits it.
func (r *Reader) Read(index int, rm pmetric.ResourceMetrics) {
	if !r.vocabulary.Admits(rm) {
		return
	}
	var s *Stream
	for i := range rm.ScopeMetrics().Len() {
		metrics := rm.ScopeMetrics().At(i).Metrics()
		for k := range metrics.Len() {
			m := metrics.At(k)
			if !r.vocabulary.Reads(m.Name()) {
				continue
			}
			if s == nil {
				if s = r.open(pdatautil.MapHash(rm.Resource().Attributes()), rm.Resource()); s == nil {
					return
				}
				if !s.reading {
					s.begin()
					r.batch = append(r.batch, s)
				}
			}
			if s.repeats(m) {
				r.close(s)
				s.begin()
			}
			s.add(m)
			s.resource = index
		}
	}
}

// End yields what the batch has left and returns how many of its measurements
// were dropped because they came late.
func (r *Reader) End() (late int) {
	for _, s := range r.batch {
		r.close(s)
	}
	clear(r.batch)
	r.batch = r.batch[:0]
	late, r.late = r.late, 0
	return late
}

func (r *Reader) close(s *Stream) {
	at, raw, ok, late := s.end()
	if late {
		r.late++
	}
	if ok {
		r.yield(Vector{Stream: s, At: at, Raw: raw, Resource: s.resource})
	}
}
