// Package health answers gRPC's health check, and asks it.
package health

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Serve starts a server on a port that the system chooses and returns how to ask it.
func Serve() (func() string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go server.Serve(listener)
	to, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return func() string {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		reply, err := grpc_health_v1.NewHealthClient(to).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			return err.Error()
		}
		return reply.GetStatus().String()
	}, nil
}
