// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnswersComeBackUnchanged(t *testing.T) {
	want := []Answer{
		{Payment, 1_000_000_007, 3_141_592, true},
		{Neighbour, 1_010_000_000, 1_000_000_000, false},
	}
	var b bytes.Buffer
	require.NoError(t, WriteAnswers(&b, want))
	got, err := ReadAnswers(&b)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestDamagedAnswersAreRefusedByLine(t *testing.T) {
	for _, line := range []string{"payment,1,2", "payment,x,2,true", "payment,1,y,true", "payment,1,2,maybe"} {
		_, err := ReadAnswers(strings.NewReader("payment,1,2,true\n" + line + "\n"))
		assert.ErrorContains(t, err, "line 2")
	}
}

func TestAnArmComesBackUnchanged(t *testing.T) {
	want := Arm{
		Name: With, Seed: 2, Onset: 5, OnsetWall: 7, Limit: 1 << 31,
		Samples:  []Sample{{1, 2, 3}},
		Ceilings: []Ceiling{{1, Unlimited}, {2, 4096}},
	}
	dir := t.TempDir()
	require.NoError(t, WriteJSON(dir, ArmFile(With), &want))
	var got Arm
	require.NoError(t, ReadJSON(dir, ArmFile(With), &got))
	assert.Equal(t, want, got)
}

func TestTimesAreFromTheOnset(t *testing.T) {
	a := Arm{Onset: 10e9, OnsetWall: 1000e9}
	assert.Equal(t, -2.5, a.Seconds(7_500_000_000))
	assert.Equal(t, 0.25, a.WallSeconds(1_000_250_000_000))
}

func TestTheStreamIsReadAmongOtherLines(t *testing.T) {
	var b bytes.Buffer
	NewStream(&b).Send(Event{Kind: EventTick, Arm: With, Elapsed: 1.5, PaymentAlive: true})
	e, ok := ParseEvent(bytes.TrimSpace(b.Bytes()))
	require.True(t, ok)
	assert.Equal(t, Event{Kind: EventTick, Arm: With, Elapsed: 1.5, PaymentAlive: true}, e)

	for _, line := range []string{"", "[    0.1] kernel says", "{broken", `{"other":1}`} {
		_, ok := ParseEvent([]byte(line))
		assert.False(t, ok, line)
	}
}
