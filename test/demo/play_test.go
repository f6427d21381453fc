// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/scenario"
)

func TestEventsAreTakenFromTheStreamHoweverItIsCut(t *testing.T) {
	const stream = "vmtest: booting\n{\"kind\":\"tick\",\"arm\":\"with\"}\n{\"kind\":\"error\",\"text\":\"no memory\"}\n"
	for size := 1; size <= len(stream); size++ {
		var events []recording.Event
		var other bytes.Buffer
		w := newEventWriter(func(e recording.Event) { events = append(events, e) })
		w.other = &other
		for rest := stream; rest != ""; {
			n := min(size, len(rest))
			_, err := w.Write([]byte(rest[:n]))
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.Len(t, events, 2)
		assert.Equal(t, recording.With, events[0].Arm)
		assert.Equal(t, "vmtest: booting\n", other.String())
		assert.EqualError(t, explain(errors.New("exit 1"), w, "noise"), "the scenario failed: no memory")
	}
}

func TestAnEndWithoutAReasonShowsTheLastWords(t *testing.T) {
	said := &tail{}
	_, _ = said.Write([]byte(strings.Repeat("x", 2*tailSize) + "\nkernel panic\n"))
	err := explain(errors.New("exit 2"), newEventWriter(nil), said.String())
	assert.ErrorContains(t, err, "kernel panic")
	assert.Less(t, len(err.Error()), tailSize+100)
	assert.NoError(t, explain(nil, newEventWriter(nil), "noise"))
}

func TestReflexIsOnlyNeededForTheArmWithIt(t *testing.T) {
	o := Options{Settings: scenario.Default()}
	assert.Contains(t, arguments(o, "/b", "/o", "/d"), "/d/otelcol-reflex")
	o.Settings.Arms = []string{recording.Without}
	assert.NotContains(t, strings.Join(arguments(o, "/b", "/o", "/d"), " "), "otelcol-reflex")
}
