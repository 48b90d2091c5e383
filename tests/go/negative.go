// gRPC's negative HTTP/2 interop client by grpc-go: `negative ADDRESS CASE`.
//
// It tells one line of JSON: for each call the size of the response's payload, or the name of the status code.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

const (
	responseSize = 314159
	requestSize  = 271828
)

// raw passes messages as they are, so that no generated code is needed.
type raw struct{}

func (raw) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "proto" }

func field(number int, payload []byte) []byte {
	out := appendUvarint(nil, uint64(number<<3|2))
	out = appendUvarint(out, uint64(len(payload)))
	return append(out, payload...)
}

func appendUvarint(out []byte, value uint64) []byte {
	var buffer [binary.MaxVarintLen64]byte
	return append(out, buffer[:binary.PutUvarint(buffer[:], value)]...)
}

// largeUnary is the procedure of all cases.
func largeUnary(conn *grpc.ClientConn) interface{} {
	request := appendUvarint(appendUvarint(nil, 2<<3), responseSize)
	request = append(request, field(3, field(2, make([]byte, requestSize)))...)
	var response []byte
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := conn.Invoke(ctx, "/grpc.testing.TestService/UnaryCall", &request, &response,
		grpc.WaitForReady(true), grpc.ForceCodec(raw{}))
	if err != nil {
		return status.Code(err).String()
	}
	// A payload within a response, each behind a key and a length of three bytes.
	return len(response) - 8
}

func main() {
	address, negative := os.Args[1], os.Args[2]
	conn, err := grpc.Dial(address, grpc.WithInsecure())
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	results := []interface{}{largeUnary(conn)}
	if negative == "goaway" {
		results = append(results, largeUnary(conn))
	}
	if negative == "max_streams" {
		var all sync.WaitGroup
		parallel := make([]interface{}, 10)
		for i := range parallel {
			all.Add(1)
			go func(i int) {
				defer all.Done()
				parallel[i] = largeUnary(conn)
			}(i)
		}
		all.Wait()
		results = append(results, parallel...)
	}
	_ = json.NewEncoder(os.Stdout).Encode(results)
}
