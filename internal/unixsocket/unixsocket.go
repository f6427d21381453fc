// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package unixsocket listens on unix sockets that are one user's alone and
// tells who connected. It refuses to replace a socket that somebody answers on,
// and what is no socket. Who may ask what is its user's business.
package unixsocket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy says that somebody answers on the socket.
var ErrBusy = errors.New("somebody else answers on the socket")

// Listen creates a socket of mode 0600 that belongs to uid; below zero it stays
// this process's. There is no instant at which others could connect: it is made
// under a mask of 0177.
func Listen(socket string, uid int) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, fmt.Errorf("make the socket's directory: %w", err)
	}
	if info, err := os.Lstat(socket); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s exists and is no socket", socket)
		}
		if busy, err := answered(socket, info); err != nil {
			return nil, fmt.Errorf("%s: who answers cannot be known: %w", socket, err)
		} else if busy {
			return nil, fmt.Errorf("%s: %w", socket, ErrBusy)
		}
		if err := os.Remove(socket); err != nil {
			return nil, fmt.Errorf("remove the stale socket: %w", err)
		}
	}
	l, err := bind(socket)
	if err != nil {
		return nil, err
	}
	if uid >= 0 && uid != os.Geteuid() {
		if err := os.Chown(socket, uid, -1); err != nil {
			return nil, errors.Join(fmt.Errorf("give the socket to uid %d: %w", uid, err), l.Close())
		}
	}
	return l, nil
}

// answered says whether somebody answers on a socket. It is asked, and where it is another
// user's, as a guard's that died is to the next one, which may give files away and
// not write others', the kernel is asked who listens.
func answered(socket string, info os.FileInfo) (bool, error) {
	c, err := net.DialTimeout("unix", socket, time.Second)
	switch {
	case err == nil:
		return true, c.Close()
	case errors.Is(err, unix.ECONNREFUSED):
		return false, nil
	case !errors.Is(err, unix.EACCES):
		return false, err
	}
	sockets, unreadable := os.ReadFile("/proc/net/unix")
	if unreadable != nil {
		return false, errors.Join(err, unreadable)
	}
	return listened(sockets, info), nil
}

// listened says whether a file is one of the sockets that are listened on in
// /proc/net/unix (proc_net(5): Num RefCount Protocol Flags Type St Inode Path).
func listened(sockets []byte, info os.FileInfo) bool {
	const listening = 1 << 16 // __SO_ACCEPTCON
	for line := range strings.Lines(string(sockets)) {
		var fields [7]string // the inode is padded; a name may have spaces
		name := strings.TrimSuffix(line, "\n")
		for i := range fields {
			fields[i], name, _ = strings.Cut(strings.TrimLeft(name, " "), " ")
		}
		flags, err := strconv.ParseUint(fields[3], 16, 32)
		if err != nil || flags&listening == 0 || filepath.Base(name) != info.Name() {
			continue // nor is a file looked at that anybody could name
		}
		if other, err := os.Lstat(name); err == nil && os.SameFile(info, other) {
			return true
		}
	}
	return false
}

var umask sync.Mutex // of the process; held for one bind

func bind(socket string) (net.Listener, error) {
	umask.Lock()
	defer umask.Unlock()
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// Peer returns who is at the other end of a connection, as the kernel knows it
// from when it was made.
func Peer(conn net.Conn) (*unix.Ucred, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("%T is no unix socket", conn)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return peer, failed
}
