"""Lines: Modbus TCP, RTU and RTU over TCP behind one port, asked one question at a time."""
