// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build faultpoints

package faultpoint

import (
	"os"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAProcessStopsAtTheStepThatIsNamedAndNowhereElse(t *testing.T) {
	file = filepath.Join(t.TempDir(), "fault")
	got := make(chan os.Signal, 1)
	signal.Notify(got, unix.SIGUSR1)
	defer signal.Stop(got)
	Pass("knob") // nothing is armed
	require.NoError(t, os.WriteFile(file, []byte("USR1 2 knob written #1\nUSR1 1 look"), 0o600))
	for _, step := range []string{"knob", "knob written", "look"} {
		Pass(step)
	}
	select {
	case <-got:
		t.Fatal("too early")
	case <-time.After(50 * time.Millisecond):
	}
	Pass("knob written")
	<-got
	text, err := os.ReadFile(file + ".fired")
	require.NoError(t, err)
	assert.Contains(t, string(text), "#1")
	text, err = os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "USR1 1 look", string(text), "the next line is armed")
	Pass("look")
	<-got
	assert.NoFileExists(t, file)
	Pass("look")
}

func TestALineThatIsNoneStopsNobody(t *testing.T) {
	for _, line := range []string{"", "KILL", "KILL 1", "KILL x knob", "KILL 0 knob", "KILL -1 knob"} {
		_, ok := parse(line)
		assert.False(t, ok, "%q", line)
	}
}
