// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package story

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// anyRecord is a record as no policy would write it.
func anyRecord(t *rapid.T) episode.Record {
	r := episode.Record{
		Kind: episode.Kind(rapid.IntRange(0, 6).Draw(t, "kind")), Time: noon.Add(time.Duration(rapid.IntRange(-100, 100).Draw(t, "time")) * time.Second),
		Episode: episode.ID{byte(rapid.IntRange(0, 2).Draw(t, "episode"))}, Level: rapid.IntRange(-1, 7).Draw(t, "level"),
		Reason: rapid.SampledFrom([]string{"", "because", "\x1b[2J"}).Draw(t, "reason"),
		Cgroup: episode.Cgroup{ID: 7, Path: rapid.SampledFrom([]string{"", "/a.service", "/\x1b]0;x"}).Draw(t, "path")},
	}
	r.Judgement.Ready = rapid.Bool().Draw(t, "ready")
	r.Judgement.NumContributions = rapid.IntRange(-3, 99).Draw(t, "contributions")
	if rapid.Bool().Draw(t, "order") {
		r.Order = &arc.Order{
			Cgroup: 7, Action: arc.Action(rapid.IntRange(0, 20).Draw(t, "action")), Verb: arc.Verb(rapid.IntRange(0, 1).Draw(t, "verb")),
			Generation: uint64(rapid.IntRange(0, 2).Draw(t, "generation")),
		}
	}
	if rapid.Bool().Draw(t, "outcome") {
		r.Outcome = &arc.Outcome{
			Verdict: arc.Verdict(rapid.IntRange(0, 9).Draw(t, "verdict")), Value: rapid.Uint64().Draw(t, "value"), Original: rapid.Uint64().Draw(t, "original"),
			Cause: rapid.SampledFrom([]string{"", "no"}).Draw(t, "cause"),
		}
	}
	return r
}

// Whatever a journal holds can be told, loses no episode, and steers no terminal.
func TestEveryJournalCanBeTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOfN(rapid.Custom(anyRecord), 0, 30).Draw(t, "records")
		episodes := map[string]bool{}
		for i := range records {
			if records[i].Episode != (episode.ID{}) {
				episodes[episode.FormatID(records[i].Episode)] = true
			}
		}
		all := All(records)
		require.Len(t, all, len(episodes))
		observed := WouldHaveDone(records, noon, time.Hour)
		texts := observed.Tell()
		for _, s := range all {
			require.True(t, episodes[s.ID])
			texts = append(texts, s.Tell(noon)...)
		}
		for _, p := range texts {
			assert.NotContains(t, p.Text, "\x1b")
			for _, item := range p.Items {
				assert.NotContains(t, item, "\x1b")
			}
		}
	})
}
