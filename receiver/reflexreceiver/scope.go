// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"crypto/sha256"
	"encoding/binary"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/receiver/reflexreceiver/internal/metadata"
)

// scope names the instrumentation scope of everything the receiver emits.
type scope struct{ version string }

func (s scope) put(into pcommon.InstrumentationScope) {
	into.SetName(metadata.ScopeName)
	into.SetVersion(s.version)
}

// spanKind tells apart the spans that one record can begin.
type spanKind byte

const (
	rootSpan   spanKind = 'r' // its record is 0: the root belongs to the episode
	levelSpan  spanKind = 'l' // its record is the one that began the period
	actionSpan spanKind = 'a' // its record is the action
)

// spanID derives a span's id from what it is about, so that a span sent twice
// is the same span and logs can point at spans that are sent later.
func spanID(id episode.ID, kind spanKind, record uint64) pcommon.SpanID {
	var about [len(id) + 1 + 8]byte
	copy(about[:], id[:])
	about[len(id)] = byte(kind)
	binary.BigEndian.PutUint64(about[len(id)+1:], record)
	sum := sha256.Sum256(about[:])
	return pcommon.SpanID(sum[:8])
}

// spanOf returns the span a record's log event belongs to.
func spanOf(r *episode.Record) pcommon.SpanID {
	switch r.Kind {
	case episode.LevelChanged:
		return spanID(r.Episode, levelSpan, r.ID)
	case episode.Action:
		return spanID(r.Episode, actionSpan, r.ID)
	default:
		return spanID(r.Episode, rootSpan, 0)
	}
}
