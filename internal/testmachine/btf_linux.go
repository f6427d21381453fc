// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package testmachine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// Change is a change to the types of a kernel.
type Change func(*btf) error

// WithoutTracepoint is a kernel that does not have a tracepoint.
func WithoutTracepoint(name string) Change {
	return func(b *btf) error { return b.rename(kindTypedef, "btf_trace_"+name, "", "btf_trace_gone") }
}

// WithOtherTracepoint is a kernel in which a tracepoint has other arguments: an
// integer, where all that are probed have a pointer first. A program that
// follows the pointer is refused by the verifier.
func WithOtherTracepoint(name string) Change {
	const other = "itimer_expire" // int which, struct pid *, u64
	return func(b *btf) error {
		return errors.Join(
			b.rename(kindTypedef, "btf_trace_"+name, "", "btf_trace_before"),
			b.rename(kindTypedef, "btf_trace_"+other, "", "btf_trace_"+name),
		)
	}
}

// WithoutMember is a kernel in whose struct a member has another name. A program
// that cannot do without is refused by the verifier, because its loader makes an
// instruction of the access that nobody may run.
func WithoutMember(structure, member string) Change {
	return func(b *btf) error { return b.rename(kindStruct, structure, member, member+"_gone") }
}

// btf is the type information of a kernel, in the kernel's own format
// (Documentation/bpf/btf.rst).
type btf struct {
	header  []byte
	types   []byte
	strings []byte
}

const (
	kindInt       = 1
	kindArray     = 3
	kindStruct    = 4
	kindUnion     = 5
	kindEnum      = 6
	kindTypedef   = 8
	kindFuncProto = 13
	kindVar       = 14
	kindDatasec   = 15
	kindDeclTag   = 17
	kindEnum64    = 19
)

// Offsets in the header.
const (
	headerLength = 4
	typeOffset   = 8
	typeLength   = 12
	stringOffset = 16
	stringLength = 20
)

var order = binary.NativeEndian

func parseBTF(path string) (*btf, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	u32 := func(at int) int { return int(order.Uint32(raw[at:])) }
	if len(raw) < 24 || order.Uint16(raw) != 0xeb9f || u32(typeOffset) != 0 || u32(stringOffset) != u32(typeLength) {
		return nil, fmt.Errorf("%s is not laid out as BTF of a kernel", path)
	}
	body := raw[u32(headerLength):]
	return &btf{
		header:  raw[:u32(headerLength)],
		types:   body[:u32(typeLength)],
		strings: body[u32(typeLength) : u32(typeLength)+u32(stringLength)],
	}, nil
}

func (b *btf) bytes() []byte {
	order.PutUint32(b.header[stringLength:], uint32(len(b.strings)))
	out := append([]byte(nil), b.header...)
	return append(append(out, b.types...), b.strings...)
}

// rename gives all types of a kind and name, or a member of them, another name.
func (b *btf) rename(kind int, name, member, to string) error {
	as := uint32(len(b.strings))
	found := false
	for at := 0; at+12 <= len(b.types); {
		info := order.Uint32(b.types[at+4:])
		vlen := int(info & 0xffff)
		if int(info>>24&0x1f) == kind && b.named(at, name) {
			if member == "" {
				order.PutUint32(b.types[at:], as)
				found = true
			}
			for i := range vlen {
				if at := at + 12 + 12*i; member != "" && b.named(at, member) {
					order.PutUint32(b.types[at:], as)
					found = true
				}
			}
		}
		at += 12 + tail(int(info>>24&0x1f), vlen)
	}
	if !found {
		return fmt.Errorf("this kernel has no %s %s", name, member)
	}
	b.strings = append(append(b.strings[:as:as], to...), 0)
	return nil
}

// named says whether what begins at an offset has a name.
func (b *btf) named(at int, name string) bool {
	begin := int(order.Uint32(b.types[at:]))
	end := begin + len(name)
	return end < len(b.strings) && string(b.strings[begin:end]) == name && b.strings[end] == 0
}

// tail is how many bytes follow the first twelve of a type.
func tail(kind, vlen int) int {
	switch kind {
	case kindInt, kindVar, kindDeclTag:
		return 4
	case kindArray:
		return 12
	case kindStruct, kindUnion, kindDatasec, kindEnum64:
		return 12 * vlen
	case kindEnum, kindFuncProto:
		return 8 * vlen
	}
	return 0
}
