// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package unixsocket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// socketPath is in a directory that does not exist yet.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "reflex") //nolint:usetesting // too long for a unix socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "run", "a.sock")
}

func TestASocketIsItsUsersAloneAndTellsWhoConnected(t *testing.T) {
	socket := socketPath(t)
	l, err := Listen(socket, -1)
	require.NoError(t, err)
	defer l.Close()
	info, err := os.Stat(socket)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	_, err = Listen(socket, -1)
	require.ErrorIs(t, err, ErrBusy)

	go func() {
		if c, err := net.Dial("unix", socket); err == nil {
			defer c.Close()
			_, _ = c.Read(make([]byte, 1))
		}
	}()
	c, err := l.Accept()
	require.NoError(t, err)
	defer c.Close()
	peer, err := Peer(c)
	require.NoError(t, err)
	assert.Equal(t, os.Geteuid(), int(peer.Uid))
	assert.Equal(t, os.Getpid(), int(peer.Pid))
	_, err = Peer(struct{ net.Conn }{})
	assert.ErrorContains(t, err, "is no unix socket")
}

func TestOnlyADeadSocketIsReplaced(t *testing.T) {
	socket := socketPath(t)
	require.NoError(t, os.Mkdir(filepath.Dir(socket), 0o755))
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	l, err := Listen(socket, os.Geteuid())
	require.NoError(t, err)
	require.NoError(t, l.Close())

	require.NoError(t, os.WriteFile(socket, []byte("precious"), 0o600))
	_, err = Listen(socket, -1)
	require.ErrorContains(t, err, "is no socket")
	text, err := os.ReadFile(socket)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(text))
}

// A guard may not connect to a socket that the guard before it gave to its collector.
func TestASocketOfSomebodyElseIsReplacedIfNobodyListens(t *testing.T) {
	type answer struct {
		l   net.Listener
		err error
	}
	listen := func(socket string) (net.Listener, error) {
		answers := make(chan answer)
		go func() {
			runtime.LockOSThread() // it ends with its thread, which may do less from here on
			head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var data [2]unix.CapUserData
			if err := unix.Capset(&head, &data[0]); err != nil {
				answers <- answer{err: err}
				return
			}
			_, err := net.Dial("unix", socket)
			if !errors.Is(err, unix.EACCES) {
				answers <- answer{err: fmt.Errorf("it may be connected to: %w", err)}
				return
			}
			l, err := Listen(socket, -1)
			answers <- answer{l, err}
		}()
		a := <-answers
		return a.l, a.err
	}
	for _, name := range []string{"a.sock", "with /spaces  in it.sock"} {
		socket := filepath.Join(filepath.Dir(socketPath(t)), name)
		require.NoError(t, os.MkdirAll(filepath.Dir(socket), 0o755))
		other, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
		require.NoError(t, err)
		require.NoError(t, os.Chmod(socket, 0))
		_, err = listen(socket)
		require.ErrorIs(t, err, ErrBusy)
		other.SetUnlinkOnClose(false)
		require.NoError(t, other.Close())
		l, err := listen(socket)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
}
