//! A DNS server in the hands of a test.

use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::SRV},
};
use rpcplugin_testkit::{Address, MockServer};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};
use tokio::{net::UdpSocket, task::AbortHandle};

/// What is answered to a question.
type Answer = Result<Vec<RData>, ResponseCode>;
type Zone = HashMap<(String, RecordType), Answer>;

/// Answers by UDP. What it does not know does not exist.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    task: AbortHandle,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("it is bound");
        let zone = Arc::new(Mutex::new(Zone::new()));
        let task = tokio::spawn(serve(socket, Arc::clone(&zone))).abort_handle();
        Self {
            address,
            zone,
            task,
        }
    }

    fn answer(&self, name: &str, kind: RecordType, answer: Answer) {
        let mut zone = self.zone.lock().expect("nobody panics");
        zone.insert((format!("{name}."), kind), answer);
    }

    /// A service has these records: priority, weight, server and name of the target.
    pub(crate) fn service(&self, name: &str, records: &[(u16, u16, u16, &str)]) {
        let record = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            let target = Name::from_ascii(target).expect("a name");
            RData::SRV(SRV::new(*priority, *weight, *port, target))
        };
        let records = records.iter().map(record).collect();
        self.answer(name, RecordType::SRV, Ok(records));
    }

    /// A host has these addresses.
    pub(crate) fn host(&self, name: &str, addresses: &[Ipv4Addr]) {
        let record = |ip: &Ipv4Addr| RData::from(IpAddr::from(*ip));
        let records = addresses.iter().map(record).collect();
        self.answer(name, RecordType::A, Ok(records));
        self.answer(name, RecordType::AAAA, Ok(Vec::new()));
    }

    /// Nothing can be said about a name for the moment.
    pub(crate) fn fail(&self, name: &str) {
        for kind in [RecordType::SRV, RecordType::A, RecordType::AAAA] {
            self.answer(name, kind, Err(ResponseCode::ServFail));
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let question = Message::from_vec(&buffer[..length]).expect("a question");
        let answer = answered(&question, &zone.lock().expect("nobody panics"));
        let answer = answer.to_vec().expect("it can be written");
        socket.send_to(&answer, from).await.expect("it is sent");
    }
}

fn answered(question: &Message, zone: &Zone) -> Message {
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    let query = question.queries.first().expect("a question").clone();
    let known = zone.get(&(query.name().to_lowercase().to_ascii(), query.query_type()));
    match known {
        None => answer.metadata.response_code = ResponseCode::NXDomain,
        Some(Err(code)) => answer.metadata.response_code = *code,
        Some(Ok(records)) => {
            let record = |data: &RData| Record::from_rdata(query.name().clone(), 60, data.clone());
            answer.add_answers(records.iter().map(record));
        }
    }
    answer.add_query(query);
    answer
}

/// The port of a mock.
pub(crate) fn port(server: &MockServer) -> u16 {
    match server.address() {
        Address::Tcp { port, .. } => *port,
        other => panic!("{other} has no port"),
    }
}
