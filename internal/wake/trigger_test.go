// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package wake

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be its own load: with REFLEX_TEST_SPIN set it
// spins on the first CPU for that long.
func TestMain(m *testing.M) {
	if span, err := time.ParseDuration(os.Getenv("REFLEX_TEST_SPIN")); err == nil {
		spin(span)
		return
	}
	os.Exit(m.Run())
}

func spin(span time.Duration) {
	runtime.LockOSThread()
	var first unix.CPUSet
	first.Set(0)
	_ = unix.SchedSetaffinity(0, &first)
	for end := time.Now().Add(span); time.Now().Before(end); {
	}
}

// openTriggers skips where the kernel has none.
func openTriggers(t *testing.T) *Triggers {
	t.Helper()
	triggers, err := OpenTriggers("/proc/pressure")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, triggers.Close()) })
	return triggers
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(open)
}

func TestAStallTriggers(t *testing.T) {
	w := New(nil, openTriggers(t), 1)
	for _, c := range []Cause{CPUStall, MemoryStall, IOStall} {
		assert.True(t, w.Sees().Has(c), c)
	}
	assert.False(t, w.Sees().Has(ForkSurge))

	w.seen[CPUStall] = -int64(time.Hour) // whatever this machine did before
	for range 2 {
		spinner, err := os.StartProcess("/proc/self/exe", []string{"spinner"}, &os.ProcAttr{
			Env: append(os.Environ(), "REFLEX_TEST_SPIN=5s", "GOMAXPROCS=1"),
		})
		require.NoError(t, err)
		defer func() {
			_ = spinner.Kill()
			_, _ = spinner.Wait()
		}()
	}
	var begun Causes
	for end := time.Now().Add(20 * time.Second); !begun.Has(CPUStall) && time.Now().Before(end); time.Sleep(Every) {
		begun |= w.Look(time.Now().UnixNano())
	}
	assert.True(t, begun.Has(CPUStall), "two tasks wanted one CPU")
}

func TestTriggersAreClosed(t *testing.T) {
	before := descriptors(t)
	triggers := openTriggers(t)
	assert.Equal(t, before+3, descriptors(t))
	require.NoError(t, triggers.Close())
	require.NoError(t, triggers.Close())
	assert.Zero(t, triggers.fired())
	assert.Equal(t, before, descriptors(t))
}

func TestWhatKeepsTriggersOutIsSaid(t *testing.T) {
	before := descriptors(t)
	nowhere := filepath.Join(t.TempDir(), "pressure")
	triggers, err := OpenTriggers(nowhere)
	assert.Nil(t, triggers)
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, nowhere)

	// A directory takes no trigger, and leaves no file open.
	require.NoError(t, os.MkdirAll(filepath.Join(nowhere, "cpu"), 0o755))
	require.NoError(t, os.Symlink("/dev/full", filepath.Join(nowhere, "memory")))
	_, err = OpenTriggers(nowhere)
	require.ErrorIs(t, err, unix.EISDIR)
	require.ErrorIs(t, err, unix.ENOSPC)
	assert.Equal(t, before, descriptors(t))
}

func TestWhoIsPrivilegedIsGrantedTheShortWindow(t *testing.T) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &data[0]))
	if data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		t.Skip("takes CAP_SYS_RESOURCE")
	}
	openTriggers(t)
	for _, one := range triggers {
		fd, err := unix.Open(filepath.Join("/proc/pressure", one.file), unix.O_RDWR|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		assert.NoError(t, one.write(fd, window), one.file)
		require.NoError(t, unix.Close(fd))
	}
}

// What nobody may do who is not privileged, anybody may do with a longer window.
func TestAnybodyIsGrantedALongerWindow(t *testing.T) {
	if os.Geteuid() != 0 {
		openTriggers(t)
		return
	}
	openTriggers(t)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test's goroutine
	var data [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &data[0]))
	data[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
	require.NoError(t, unix.Capset(&header, &data[0]))

	fd, err := unix.Open("/proc/pressure/memory", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		t.Skip("before Linux 6.4 triggers take CAP_SYS_RESOURCE")
	}
	require.NoError(t, err)
	err = triggers[1].write(fd, window)
	require.NoError(t, unix.Close(fd))
	if err == nil {
		t.Skip("on this kernel, as on 5.10, whoever may write has the short window")
	}
	require.ErrorIs(t, err, unix.EINVAL, strconv.Itoa(os.Geteuid()))

	got, err := OpenTriggers("/proc/pressure")
	require.NoError(t, err)
	assert.Len(t, got.causes, len(triggers))
	require.NoError(t, got.Close())
}
